"""lm-evaluation-harness on edge-es: pip install 'edge-es[lm-eval]'.

In process, as here: the anchor of the model that is named. Over the API, the version that a daemon serves:

    lm_eval --model local-completions --tasks hellaswag --limit 100 --model_args \
      base_url=http://127.0.0.1:8420/v1/completions,model=MODEL,tokenizer=MODEL,max_length=2048,num_concurrent=1
"""

import sys

import lm_eval

from edge_es.config import ModelSection
from edge_es.harness.model import EdgeLM
from edge_es.model import load_base

model, task = sys.argv[1], sys.argv[2]
found = lm_eval.simple_evaluate(model=EdgeLM(load_base(ModelSection(ref=model))), tasks=[task], limit=100)
print(found["results"][task])
