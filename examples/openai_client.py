"""An answer by OpenAI's client, and a thumb on it: pip install openai."""

import os

import httpx
import openai

url, token = os.environ.get("EDGE_ES_URL", "http://127.0.0.1:8420"), os.environ["EDGE_ES_TOKEN"]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=token)
model = client.models.list().data[0].id
asked = [{"role": "user", "content": "What is 17+25?"}]
answer = client.chat.completions.create(model=model, messages=asked, extra_headers={"X-Session-Id": "examples"})
print(answer.choices[0].message.content, answer.system_fingerprint)
rating = {"inference_id": answer.id, "metric_name": "thumbs", "value": True}
print(httpx.post(f"{url}/v1/feedback", json=rating, headers={"Authorization": f"Bearer {token}"}).json())
