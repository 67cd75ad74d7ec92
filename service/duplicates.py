"""What makes two events the same: a digest of what is taught, whoever sent it and under whatever id."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edge_es.feedback import Event


def digest(event: Event, body: Mapping[str, Any]) -> str | None:
    """sha256 of what the learner would read, tags and id left out; None for a comment. `body`: as it was sent.

    A rating is of what it names: two served completions are two observations, however like their answers are.
    """
    if event.kind == "comment":
        return None
    said = event.as_json()
    told = {key: said[key] for key in ("kind", "exchanges", "metric", "value", "grader")}
    if event.kind == "rating":
        told |= {key: body.get(key) for key in ("inference_id", "episode_id")}
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
