"""Feedback: sent one by one or as JSON Lines, listed, and followed to its fate."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from service import intake
from service.bodies import JsonLines, JsonObject, json_body, optional_json_body
from service.context import Context, Ctx
from service.errors import ApiError, Unknown
from service.event_table import Fate, State
from service.resolve import is_held_out
from service.schemas import Nothing, Pause, Rejected, Reviewed

router = APIRouter()
REJECTED = "rejected in a review"


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


def _chosen(context: Context, body: Reviewed) -> list[str]:
    return list(dict.fromkeys(body.ids)) if body.ids is not None else context.store.in_review()


@router.post("/v1/feedback/approve")
def approve_some(context: Ctx, body: Annotated[Reviewed, Depends(json_body(Reviewed))]) -> dict[str, list[str]]:
    """Lets events in review be learned from: those named, or all. All of them or none."""
    ids = _chosen(context, body)
    share = context.config.learn.holdout
    context.store.approve(ids, lambda one: is_held_out(one, share))
    context.engine.wake()
    return {"approved": ids}


@router.post("/v1/feedback/reject")
def reject_some(context: Ctx, body: Annotated[Rejected, Depends(json_body(Rejected))]) -> dict[str, list[str]]:
    """Keeps events in review from being learned from, for good: those named, or all. All of them or none."""
    ids = _chosen(context, body)
    context.store.reject(ids, body.reason or REJECTED)
    return {"rejected": ids}


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
    if fate.body is None:
        raise ApiError(409, f"what feedback {fate.id} said was dropped (state.keep_events); send it as a new one", "id")
    if not context.store.retry([fate.id]):
        raise ApiError(409, f"feedback {fate.id} is {fate.state}; only what was set aside can be tried again", "id")
    context.engine.wake()
    return _fate(context, event_id).as_json()


@router.post("/v1/feedback/{event_id}/approve")
def approve(context: Ctx, event_id: str, _: Annotated[Nothing, Depends(optional_json_body(Nothing))]) -> dict[str, Any]:
    """Lets an event in review be learned from; one that was rejected, too."""
    approve_some(context, Reviewed(ids=[_fate(context, event_id).id]))
    return _fate(context, event_id).as_json()


@router.post("/v1/feedback/{event_id}/reject")
def reject(context: Ctx, event_id: str, body: Annotated[Pause, Depends(optional_json_body(Pause))]) -> dict[str, Any]:
    """Keeps an event in review from being learned from, for good."""
    reject_some(context, Rejected(ids=[_fate(context, event_id).id], reason=body.reason))
    return _fate(context, event_id).as_json()
