"""Feedback: sent one by one or as JSON Lines, listed, and followed to its fate."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from service import intake, responses
from service.bodies import JsonLines, JsonObject
from service.context import Context, Ctx
from service.errors import ApiError, Unknown
from service.event_table import Fate, State
from service.openapi import documented, header, sends, sends_lines
from service.responses import Accepted, Fates, Lines

router = APIRouter()
SHOWN = {"input": {"prompt": "2+2="}, "metric_name": "demonstration", "value": "4", "tags": {"source": "editor"}}
RATED = {"inference_id": "0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01", "metric_name": "thumbs", "value": True}
BETTER = {"input": {"prompt": "2+2="}, "metric_name": "preference", "value": {"chosen": "4", "rejected": "5"}}


def _links(event_id: str) -> dict[str, Any]:
    """To an event's fate, from where its id stands in an answer."""
    operations = {"fate": "tell_v1_feedback__event_id__get", "retry": "retry_v1_feedback__event_id__retry_post"}
    return {
        name: {"operationId": operation, "parameters": {"event_id": f"$response.body#/{event_id}"}}
        for name, operation in operations.items()
    }


FOLLOWED: dict[str, Any] = {
    "parameters": [header("Idempotency-Key", "the same as `id`", {"type": "string", "format": "uuid"})],
    "links": _links("feedback_id"),
}
EXAMPLES = {"demonstration": SHOWN, "rating": RATED, "preference": BETTER}
SENT = documented(Accepted, 404, 409, 422, 503, 507, requestBody=sends("Feedback", examples=EXAMPLES), **FOLLOWED)


@router.post("/v1/feedback", **SENT)
@router.post("/feedback", **SENT)
async def send(context: Ctx, raw: JsonObject) -> dict[str, str]:
    """One event; it is durable when this answers."""
    context.require_ready()
    return {"feedback_id": await run_in_threadpool(intake.take, context, raw, "feedback")}


@router.post("/v1/feedback/batch", **documented(Lines, 503, 507, requestBody=sends_lines(json.dumps(SHOWN) + "\n")))
async def send_lines(context: Ctx, lines: JsonLines) -> dict[str, Any]:
    """JSON Lines, reported on line by line."""
    context.require_ready()
    return {"results": await run_in_threadpool(intake.take_lines, context, lines, "feedback")}


@router.get("/v1/feedback", **documented(Fates, 422, links=_links("feedback/0/id")))
def list_feedback(
    context: Ctx,
    state: State | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Events oldest first; the next page begins behind the last id of this one."""
    return {"feedback": [fate.as_json() for fate in context.store.list_events(state, after, limit)]}


def _fate(context: Context, event_id: UUID) -> Fate:
    fate = context.store.event_fate(str(event_id))
    if fate is None:
        raise Unknown(f"there is no feedback {event_id}", "id")
    return fate


@router.get("/v1/feedback/{event_id:uuid}", **documented(responses.Fate, 404))
def tell(context: Ctx, event_id: UUID) -> dict[str, Any]:
    """An event as it was sent, and what became of it."""
    return _fate(context, event_id).as_json()


@router.post("/v1/feedback/{event_id:uuid}/retry", **documented(responses.Fate, 404, 409, 507))
def retry(context: Ctx, event_id: UUID) -> dict[str, Any]:
    """Lets a set-aside event wait again."""
    fate = _fate(context, event_id)
    if not context.store.retry([fate.id]):
        raise ApiError(409, f"feedback {fate.id} is {fate.state}; only what was set aside can be tried again", "id")
    context.engine.wake()
    return _fate(context, event_id).as_json()
