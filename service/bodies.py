"""Request bodies as dependencies: the content type first, then strict JSON, then the schema."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from service.errors import ApiError
from service.schemas import AnyBody
from service.strict_json import parse_object

JSON = ("application/json",)
JSON_LINES = ("application/x-ndjson", "application/jsonl")
MAX_LINES = 10_000  # of a batch: each is answered for, and a refusal may be longer than its line
LONG = 2**16  # bytes of a body that is not read on the event loop


async def _read(request: Request, accepted: tuple[str, ...]) -> bytes:
    """The body. A page cannot send these content types to another origin without asking first."""
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() not in accepted:
        raise ApiError(
            415,
            f"Content-Type must be {' or '.join(accepted)}, not {given or 'missing'}",
            "Content-Type",
            "unsupported_media_type",
        )
    return await request.body()


async def _json_object(request: Request) -> dict[str, Any]:
    body = await _read(request, JSON)
    return parse_object(body) if len(body) < LONG else await run_in_threadpool(parse_object, body)


def json_body(schema: type[AnyBody]) -> Callable[[Request], Awaitable[AnyBody]]:
    """A dependency that gives the body as `schema`."""

    async def body(request: Request) -> AnyBody:
        return schema.model_validate(await _json_object(request))

    return body


def optional_json_body(schema: type[AnyBody]) -> Callable[[Request], Awaitable[AnyBody]]:
    """The same where an empty body says as much as {}."""

    async def body(request: Request) -> AnyBody:
        empty = not await request.body()
        return schema.model_validate({} if empty else await _json_object(request))

    return body


async def _with_key(request: Request) -> dict[str, Any]:
    """The object, with the header Idempotency-Key as its id."""
    found = await _json_object(request)
    key = request.headers.get("idempotency-key")
    if key is None:
        return found
    if found.get("id") not in (None, key):
        raise ApiError(400, "Idempotency-Key and id differ; send one of them", "Idempotency-Key", "invalid_value")
    return {**found, "id": key}


async def _lines(request: Request) -> list[tuple[int, bytes]]:
    """(line number from 1, line), blank lines left out."""
    body = await _read(request, JSON_LINES)
    number = body.count(b"\n")
    if number > MAX_LINES:
        raise ApiError(
            413, f"a batch has at most {MAX_LINES} lines, this one {number}; send less at once", code="too_long"
        )
    return [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]


JsonObject = Annotated[dict[str, Any], Depends(_with_key)]
JsonLines = Annotated[list[tuple[int, bytes]], Depends(_lines)]
