"""Feedback and tasks as JSON Schema. Which values go with which metric depends on the configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_es.config import MetricSection
from edge_es.graders import countdown, pattern, schema, text

UUID = {"type": "string", "format": "uuid"}
TEXT = {"type": "string", "minLength": 1}
NULL = {"type": "null"}
INPUT = {"$ref": "#/components/schemas/Input"}
TARGETS: dict[str, dict[str, Any]] = {"inference_id": UUID, "episode_id": TEXT, "input": INPUT}
COMMON = {
    "id": {"anyOf": [UUID, NULL], "description": "the idempotency key, and then the feedback_id"},
    "tags": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, NULL]},
    "dryrun": {"anyOf": [{"type": "boolean"}, NULL], "description": "check, and store nothing"},
}


def _object(properties: Mapping[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    fields = {"properties": dict(properties), "required": required}
    return {"type": "object", **more, **fields, "additionalProperties": False}


def _values(metrics: Mapping[str, MetricSection]) -> Iterator[tuple[list[str], dict[str, Any], tuple[str, ...]]]:
    """(metric names, their values, what they may be of)."""
    served = tuple(TARGETS)
    yield ["demonstration"], {**TEXT, "description": "the better answer"}, ("inference_id", "input")
    pair = _object({"chosen": TEXT, "rejected": TEXT}, ["chosen", "rejected"], description="they differ")
    yield ["preference"], pair, ("inference_id", "input")
    yield ["comment"], TEXT, tuple(TARGETS)
    booleans = [name for name, metric in metrics.items() if metric.type == "boolean"]
    if booleans:
        yield booleans, {"type": "boolean"}, served
    for name, metric in metrics.items():
        if metric.type == "float":
            yield [name], {"type": "number", "minimum": metric.low, "maximum": metric.high}, served


def input_schema() -> dict[str, Any]:
    """Either a chat or a text."""
    chat = {"type": "array", "items": {"$ref": "#/components/schemas/ChatMessage"}, "minItems": 1}
    return {
        "anyOf": [
            _object({"messages": chat, "prompt": NULL}, ["messages"]),
            _object({"messages": NULL, "prompt": TEXT}, ["prompt"]),
        ]
    }


def feedback_schema(metrics: Mapping[str, MetricSection]) -> dict[str, Any]:
    """Of `POST /v1/feedback`: one variant for each kind of value and each target."""
    variants = []
    for names, value, targets in _values(metrics):
        for target in targets:
            others = {other: NULL for other in TARGETS if other != target}
            said = {"metric_name": {"enum": names}, "value": value, target: TARGETS[target], "output": NULL}
            said["internal"] = {"enum": [False, None], "description": "sent by TensorZero's client"}
            required = ["metric_name", "value", target]
            if target == "input" and not set(names) & {"demonstration", "preference", "comment"}:
                said["output"] = {**TEXT, "description": "the rated answer"}
                required.append("output")
            title = f"{'/'.join(names)} of {target}"
            variants.append(_object({**COMMON, **others, **said}, required, title=title))
    return {"anyOf": variants}


def _grader(kind: str, properties: Mapping[str, Any], *optional: str) -> dict[str, Any]:
    known = {
        "type": {"const": kind},
        "name": {"type": "string"},
        "input": {"const": "{{sample.output_text}}"},
        **properties,
    }
    return _object(known, ["type", *(name for name in properties if name not in optional)], title=kind)


def task_schema() -> dict[str, Any]:
    """Of `POST /v1/tasks`."""
    reference = {"type": "string", "maxLength": text.MAX_REFERENCE}
    whole = {"type": "integer", "minimum": 0, "maximum": countdown.MAX_NUMBER}
    target = {**whole, "minimum": -countdown.MAX_NUMBER}
    switch = {"type": "boolean"}
    numbers = {"type": "array", "items": whole, "minItems": 1, "maxItems": countdown.MAX_NUMBERS}
    regex = {"type": "string", "maxLength": pattern.MAX_PATTERN, "description": "of Python's `re`"}
    of_json = {"type": "object", "description": f"JSON Schema, at most {schema.MAX_SCHEMA} characters"}
    graders = [
        _grader("string_check", {"operation": {"enum": list(text.OPERATIONS)}, "reference": reference}),
        _grader("text_similarity", {"evaluation_metric": {"enum": list(text.METRICS)}, "reference": reference}),
        _grader(
            "numeric", {"reference": {"type": "number"}, "tolerance": {"type": "number", "minimum": 0}}, "tolerance"
        ),
        _grader("regex", {"pattern": regex, "search": switch, "ignore_case": switch}, "search", "ignore_case"),
        _grader("json_schema", {"schema": of_json}),
        _grader("countdown", {"numbers": numbers, "target": target}),
    ]
    return _object({**COMMON, "input": INPUT, "grader": {"anyOf": graders}}, ["input", "grader"])
