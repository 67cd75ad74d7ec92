"""Langfuse's scores: an export of its table, of its blob storage (CSV, JSON, JSON Lines), or pages of its API.

The three spell the same fields differently (traceId, trace_id). A score names a trace, an observation or a session;
texts are not in it. So

- a trace or observation whose id is one of edge-es's inference ids (a UUID, or its 32 digits as OpenTelemetry has
  them) is a rating of that served answer, and a sessionId alone of that episode;
- with `--traces FILE`, an export of traces or observations with input and output, a score of any other is a rating
  of its output.

| data type | an event |
| --- | --- |
| any, named as a metric of its type that is configured | that metric |
| BOOLEAN | `thumbs` |
| NUMERIC, any other | `rating`, if it lies between -1 and 1 |
| TEXT, and every `comment` | a comment |
| CATEGORICAL | `thumbs` for labels such as good and bad; others are refused |
"""

import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from service.importers import Metrics, Row, records

GOOD = frozenset(
    {"good", "positive", "correct", "helpful", "yes", "true", "thumbs_up", "thumbsup", "up", "like", "pass"}
)
BAD = frozenset(
    {"bad", "negative", "incorrect", "unhelpful", "no", "false", "thumbs_down", "thumbsdown", "down", "dislike", "fail"}
)
_HEX = re.compile(r"[0-9a-f]{32}")
_WORDS = re.compile(r"(?<!^)(?=[A-Z])")
Texts = Mapping[str, tuple[dict[str, Any], str]]


def read(text: str, traces: str | None = None, metrics: Metrics = MappingProxyType({})) -> Iterator[Row]:
    """The rows of an export. metrics: those that the daemon has; a score of such a name and type is one of it."""
    known = _texts(traces) if traces is not None else {}
    for number, score in records(text):
        if not isinstance(score, dict):
            yield Row(number, refusal=str(score) if isinstance(score, ValueError) else "a score is a JSON object")
            continue
        row = {_WORDS.sub("_", key).lower(): value for key, value in score.items()}
        try:
            target, episode = _target(row, known)
            said = list(_said(row, metrics))
        except ValueError as error:
            yield Row(number, refusal=str(error))
            continue
        tags = {"score": str(row.get("name"))}
        if row.get("source"):
            tags["origin"] = str(row["source"])
        for metric, value in said:
            own = dict(target)
            if metric == "comment":
                own.pop("output", None)
            yield Row(number, {**own, "metric_name": metric, "value": value, "tags": tags}, key=str(row.get("id")))
        if not said:
            yield Row(number, refusal=f"a score of {'an episode' if episode else 'an answer'} that says nothing")


def _target(row: Mapping[str, Any], known: Texts) -> tuple[dict[str, Any], bool]:
    ids = [str(row[key]) for key in ("observation_id", "trace_id") if row.get(key)]
    for one in ids:
        if one in known:
            asked, answer = known[one]
            return {"input": asked, "output": answer}, False
    for one in ids:
        inference = _inference(one)
        if inference:
            return {"inference_id": inference}, False
    if row.get("session_id") and not ids:
        return {"episode_id": str(row["session_id"])}, True
    if not ids:
        raise ValueError("the score names no trace, observation or session")
    raise ValueError(f"trace {ids[-1][:40]} is no inference id of edge-es; give its texts by --traces")


def _inference(one: str) -> str | None:
    compact = one.lower().replace("-", "")
    return str(uuid.UUID(compact)) if _HEX.fullmatch(compact) else None


def _said(row: Mapping[str, Any], metrics: Metrics) -> Iterator[tuple[str, Any]]:
    kind, name = str(row.get("data_type") or "NUMERIC").upper(), str(row.get("name"))
    thumbs = name if metrics.get(name) == "boolean" else "thumbs"
    label = str(row.get("string_value") or "").strip()
    if kind == "TEXT":
        if label:
            yield "comment", label
    elif kind == "BOOLEAN":
        yield thumbs, _is_true(row, label)
    elif kind == "CATEGORICAL":
        word = label.lower().replace(" ", "_").replace("-", "_")
        if word not in GOOD | BAD:
            raise ValueError(f"category '{label}' says neither good nor bad; known are {', '.join(sorted(GOOD | BAD))}")
        yield thumbs, word in GOOD
    else:
        yield _numeric(row, name, metrics)
    comment = row.get("comment")
    if isinstance(comment, str) and comment.strip():
        yield "comment", comment.strip()


def _numeric(row: Mapping[str, Any], name: str, metrics: Metrics) -> tuple[str, bool | float]:
    try:
        value = float(row.get("value"))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"value {row.get('value')!r} is no number")
    if metrics.get(name) == "boolean" and value in (0, 1):
        return name, value == 1
    if metrics.get(name) == "float":
        return name, value
    if not -1 <= value <= 1:
        raise ValueError(f"{name} = {value:g} is outside -1..1; configure [metrics.{name}] with its range")
    return "rating", value


def _is_true(row: Mapping[str, Any], label: str) -> bool:
    if label.lower() in ("true", "false"):
        return label.lower() == "true"
    value = row.get("value")
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    try:
        return float(value) != 0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"value {value!r} is neither true nor false") from None


def _texts(text: str) -> dict[str, tuple[dict[str, Any], str]]:
    """(input, answer) of each trace or observation that has both, by its id."""
    found = {}
    for _, trace in records(text):
        if isinstance(trace, dict) and trace.get("id"):
            asked, answer = _asked(trace.get("input")), _answer(trace.get("output"))
            if asked and answer:
                found[str(trace["id"])] = (asked, answer)
    return found


def _parsed(value: Any) -> Any:
    """Payloads come as JSON, as JSON in a string, or as plain text."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "[", '"'):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _asked(value: Any) -> dict[str, Any] | None:
    value = _parsed(value)
    if isinstance(value, str):
        return {"messages": [{"role": "user", "content": value}]} if value else None
    if isinstance(value, dict):
        value = value.get("messages", value.get("prompt", value.get("input")))
        return _asked(value) if value is not None else None
    if not isinstance(value, list) or not value:
        return None
    turns = [(one.get("role"), one.get("content")) if isinstance(one, dict) else (None, None) for one in value]
    roles = ("system", "developer", "user", "assistant")
    if not all(role in roles and isinstance(content, str) for role, content in turns):
        return None
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _answer(value: Any) -> str:
    value = _parsed(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        choices = value.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            value = choices[0].get("message") or choices[0].get("text")
        if isinstance(value, dict):
            value = value.get("content", value.get("text", value.get("output")))
    return value if isinstance(value, str) else ""
