"""Feedback: sent one by one or as JSON Lines, listed, and followed to its fate."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from service import intake
from service.bodies import JsonLines, JsonObject
from service.context import Context, Ctx
from service.errors import ApiError, Unknown
from service.event_table import Fate, State

router = APIRouter()


@router.post("/v1/feedback")
@router.post("/feedback")
async def send(context: Ctx, raw: JsonObject) -> dict[str, str]:
    """One event; it is durable when this answers."""
    context.require_ready()
    return {"feedback_id": await run_in_threadpool(intake.take, context, raw, "feedback")}


@router.post("/v1/feedback/batch")
async def send_lines(context: Ctx, lines: JsonLines) -> dict[str, Any]:
    """JSON Lines, reported on line by line."""
    context.require_ready()
    return {"results": await run_in_threadpool(intake.take_lines, context, lines, "feedback")}


@router.get("/v1/feedback")
def list_feedback(
    context: Ctx,
    state: State | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Events oldest first; the next page begins behind the last id of this one."""
    return {"feedback": [fate.as_json() for fate in context.store.list_events(state, after, limit)]}


def _fate(context: Context, event_id: str) -> Fate:
    fate = context.store.event_fate(event_id.lower())
    if fate is None:
        raise Unknown(f"there is no feedback {event_id}", "id")
    return fate


@router.get("/v1/feedback/{event_id}")
def tell(context: Ctx, event_id: str) -> dict[str, Any]:
    """An event as it was sent, and what became of it."""
    return _fate(context, event_id).as_json()


@router.post("/v1/feedback/{event_id}/retry")
def retry(context: Ctx, event_id: str) -> dict[str, Any]:
    """Lets a set-aside event wait again."""
    fate = _fate(context, event_id)
    if not context.store.retry([fate.id]):
        raise ApiError(409, f"feedback {fate.id} is {fate.state}; only what was set aside can be tried again", "id")
    context.engine.wake()
    return _fate(context, event_id).as_json()
