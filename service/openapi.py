"""The API's own description: what each route declares, and the document at `GET /openapi.json` made of it."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from edge_es import __version__
from service.context import Context
from service.openapi_feedback import feedback_schema, input_schema, task_schema
from service.responses import ChatCompletionChunk, ErrorBody
from service.schemas import ChatRequest, CompletionRequest, Export, Import, Nothing, Pause, Rejected, Reviewed, Rollback
from service.security import chat_is_open

REFUSALS = {
    400: "broken JSON, or what no schema can tell: too long for the model, a metric that is not configured",
    401: "no token, or a wrong one",
    403: "a Host or Origin that is not allowed, or a token that may not do this",
    404: "there is no such thing",
    408: "the request took too long to arrive",
    409: "it contradicts what is there",
    413: "the body is too long",
    414: "the address is too long",
    415: "not the content type, or compressed",
    422: "a field is missing, unknown or of the wrong kind",
    429: "too many requests wait, or this client asks too often",
    431: "the headers are too long, or too many",
    500: "the daemon failed; its log says why",
    503: "the model is loading",
    507: "the disk is full",
}
EVERYWHERE = (400, 403, 408, 413, 414, 415, 429, 431, 500)
HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "description": "seconds"}},
}
ADMIN, CHAT, OPEN = "admin", "chat", "open"  # tags, and the tokens that a route asks for
REQUESTS: tuple[type[BaseModel], ...] = (
    *(ChatRequest, CompletionRequest, Rollback, Pause, Nothing, Reviewed, Rejected, Export, Import),
)
_NULL = {"type": "null"}
RULES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (  # one of two, for requests that have the fields
    ({"properties": {"stream_options": _NULL}}, {"properties": {"stream": {"const": True}}, "required": ["stream"]}),
    ({"properties": {"top_logprobs": _NULL}}, {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]}),
    ({"properties": {"max_completion_tokens": _NULL}}, {"properties": {"max_tokens": _NULL}}),
    (
        {"properties": {"max_tokens": {"not": {"const": 0}}}},
        {"properties": {"echo": {"const": True}}, "required": ["echo"]},
    ),
    ({"properties": {"echo": {"enum": [False, None]}}}, {"properties": {"stream": {"enum": [False, None]}}}),
)
_ERROR = {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
_REF = "#/components/schemas/{model}"


def documented(answer: type[BaseModel] | None = None, *refusals: int, **extra: Any) -> dict[str, Any]:
    """Keyword arguments of a route: its answer's shape (None where `content` tells), and the refusals of its own.

    extra: of the operation (`requestBody`, `parameters`), and of the answer (`content`, `headers`, `links`).
    """
    good: dict[str, Any] = {key: extra.pop(key) for key in ("content", "headers", "links") if key in extra}
    good["description"] = "it is done"
    if answer is not None:
        good["model"] = answer
    return {
        "response_model": None,
        "responses": {200: good, **{status: refused(status) for status in refusals}},
        "openapi_extra": extra,
    }


def refused(status: int) -> dict[str, Any]:
    """A refusal as the document has it."""
    headers = {"headers": HEADERS[status]} if status in HEADERS else {}
    return {"description": REFUSALS[status], "content": {"application/json": _ERROR}, **headers}


def sends(schema: str, required: bool = True, examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A JSON body of a schema that stands among the components."""
    shown = {"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {}
    content = {"schema": {"$ref": _REF.format(model=schema)}, **shown}
    return {"required": required, "content": {"application/json": content}}


def sends_lines(example: str) -> dict[str, Any]:
    """A body of JSON Lines."""
    line = {"schema": {"type": "string", "description": "a JSON object a line"}, "example": example}
    return {"required": True, "content": {"application/x-ndjson": line, "application/jsonl": line}}


def streams(data: dict[str, Any], example: str) -> dict[str, Any]:
    """The content of an answer of server-sent events. data: the schema of an event's data, as text."""
    event = {"type": "object", "properties": {"event": {"type": "string"}, "data": data}, "required": ["data"]}
    return {"text/event-stream": {"itemSchema": event, "example": example}}


def json_text(schema: str) -> dict[str, Any]:
    """A text that is JSON of a schema among the components."""
    content = {"$ref": _REF.format(model=schema)}
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": content}


def header(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A header that a request may carry."""
    kind = schema or {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": kind}


def document(app: FastAPI, context: Context) -> dict[str, Any]:
    """OpenAPI 3.1 of this daemon: its model's name, its metrics and the tokens it asks for are in it."""
    found = get_openapi(
        title="edge-es",
        version=__version__,
        routes=app.routes,
        summary="Serves one language model, learns from feedback, and takes it back when it forgets.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = found["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, model in (("requests", REQUESTS), ("others", (ErrorBody, ChatCompletionChunk))):
        mode: Any = "validation" if name == "requests" else "serialization"
        _, definitions = models_json_schema([(one, mode) for one in model], ref_template=_REF)
        schemas.update(definitions["$defs"])
    for request in (ChatRequest, CompletionRequest):
        fields = schemas[request.__name__]["properties"]
        names = {context.model_id, context.config.model.ref}
        fields["model"] = {
            "enum": sorted(names | {f"{name}@0" for name in names}),
            "description": "with @0 the anchor answers: the model as first loaded",
        }
        fields["n"]["anyOf"][0]["maximum"] = context.config.serve.max_rows
        schemas[request.__name__]["allOf"] = [
            {"anyOf": either} for either in RULES if all(one["properties"].keys() <= fields.keys() for one in either)
        ]
    schemas["Input"] = input_schema()
    schemas["Feedback"] = feedback_schema(context.config.all_metrics())
    schemas["Task"] = task_schema()
    security: dict[str, list[dict[str, list[str]]]] = {
        ADMIN: [{"admin": []}],
        CHAT: [] if chat_is_open(context.config.serve) else [{"chat": []}, {"admin": []}],
        OPEN: [],
    }
    found["components"]["securitySchemes"] = {
        "admin": _bearer("what changes the model, or tells of it; `edge-es token` prints it"),
        "chat": _bearer("answers, where others can reach the daemon; `edge-es token --chat` prints it"),
    }
    for path in found["paths"].values():
        for operation in path.values():
            _complete(operation, security[operation["tags"][0]])
    return found


def _complete(operation: dict[str, Any], security: list[dict[str, list[str]]]) -> None:
    operation["security"] = security
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]  # FastAPI's own, for a route that has nothing to validate
    for status in (*EVERYWHERE, *((401,) if security else ())):
        responses.setdefault(str(status), refused(status))
    operation["responses"] = dict(sorted(responses.items()))


def _bearer(description: str) -> dict[str, str]:
    return {"type": "http", "scheme": "bearer", "description": description}
