"""Feedback by TensorZero's client: pip install tensorzero. Answers come by OpenAI's, as everywhere.

edge-es takes TensorZero's feedback as it is; functions and variants are TensorZero's own, and not here.
"""

import os

import openai
from tensorzero import TensorZeroGateway

url, token = os.environ.get("EDGE_ES_URL", "http://127.0.0.1:8420"), os.environ["EDGE_ES_TOKEN"]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=token)
model = client.models.list().data[0].id
answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "What is 17+25?"}])
print(answer.choices[0].message.content)
with TensorZeroGateway.build_http(gateway_url=url, api_key=token) as gateway:
    print(gateway.feedback(metric_name="thumbs", value=True, inference_id=answer.id))
    print(gateway.feedback(metric_name="demonstration", value="42", inference_id=answer.id, tags={"source": "example"}))
