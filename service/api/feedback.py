"""Feedback: sent one by one or as JSON Lines, listed, and followed to its fate."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from service import intake, responses
from service.bodies import JsonLines, JsonObject, json_body, optional_json_body
from service.context import Context, Ctx
from service.errors import ApiError, Unknown
from service.fate_table import Fate, State
from service.openapi import documented, header, sends, sends_lines
from service.resolve import is_held_out
from service.responses import Accepted, Fates, Lines
from service.schemas import Nothing, Pause, Rejected, Reviewed

router = APIRouter()
REJECTED = "rejected in a review"
SET_ASIDE = "set aside by hand"
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
ELSEWHERE = {"input": {"prompt": "2+2="}, "output": "5", "metric_name": "thumbs", "value": False}
EXAMPLES = {"demonstration": SHOWN, "rating": RATED, "preference": BETTER, "rating of any answer": ELSEWHERE}
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
    newest: bool = False,
) -> dict[str, Any]:
    """Events oldest first, or newest first; the next page begins behind the last id of this one."""
    return {"feedback": [fate.as_json() for fate in context.store.list_events(state, after, limit, newest)]}


def _chosen(context: Context, body: Reviewed) -> list[str]:
    return list(dict.fromkeys(body.ids)) if body.ids is not None else context.store.in_review()


@router.post(
    "/v1/feedback/approve", **documented(responses.Approved, 404, 409, 422, 507, requestBody=sends("Reviewed"))
)
def approve_some(context: Ctx, body: Annotated[Reviewed, Depends(json_body(Reviewed))]) -> dict[str, list[str]]:
    """Lets events in review be learned from: those named, or all. All of them or none."""
    ids = _chosen(context, body)
    share = context.config.learn.holdout
    context.store.approve(ids, lambda one: is_held_out(one, share))
    context.fed()
    return {"approved": ids}


@router.post(
    "/v1/feedback/reject", **documented(responses.Dismissed, 404, 409, 422, 507, requestBody=sends("Rejected"))
)
def reject_some(context: Ctx, body: Annotated[Rejected, Depends(json_body(Rejected))]) -> dict[str, list[str]]:
    """Keeps events in review from being learned from, for good: those named, or all. All of them or none."""
    ids = _chosen(context, body)
    context.store.reject(ids, body.reason or REJECTED)
    context.news.fed()
    return {"rejected": ids}


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
    if fate.body is None:
        raise ApiError(409, f"what feedback {fate.id} said was dropped (state.keep_events); send it as a new one", "id")
    if not context.store.retry([fate.id]):
        raise ApiError(409, f"feedback {fate.id} is {fate.state}; only what was set aside can be tried again", "id")
    context.fed()
    return _fate(context, event_id).as_json()


@router.post(
    "/v1/feedback/{event_id:uuid}/approve",
    **documented(responses.Fate, 404, 409, 422, 507, requestBody=sends("Nothing", False)),
)
def approve(
    context: Ctx, event_id: UUID, _: Annotated[Nothing, Depends(optional_json_body(Nothing))]
) -> dict[str, Any]:
    """Lets an event in review be learned from; one that was rejected, too."""
    approve_some(context, Reviewed(ids=[_fate(context, event_id).id]))
    return _fate(context, event_id).as_json()


@router.post(
    "/v1/feedback/{event_id:uuid}/reject",
    **documented(responses.Fate, 404, 409, 422, 507, requestBody=sends("Pause", False)),
)
def reject(context: Ctx, event_id: UUID, body: Annotated[Pause, Depends(optional_json_body(Pause))]) -> dict[str, Any]:
    """Keeps an event in review from being learned from, for good."""
    reject_some(context, Rejected(ids=[_fate(context, event_id).id], reason=body.reason))
    return _fate(context, event_id).as_json()


@router.post(
    "/v1/feedback/{event_id:uuid}/set_aside",
    **documented(responses.Fate, 404, 409, 422, 507, requestBody=sends("Pause", False)),
)
def set_aside(
    context: Ctx, event_id: UUID, body: Annotated[Pause, Depends(optional_json_body(Pause))]
) -> dict[str, Any]:
    """Takes an event that is learned from out of learning; what it has already taught stays. `retry` lets it back."""
    fate = _fate(context, event_id)
    if not context.store.set_aside([fate.id], body.reason or SET_ASIDE):
        raise ApiError(409, f"feedback {fate.id} is {fate.state}; only what is learned from can be set aside", "id")
    context.news.fed()
    return _fate(context, event_id).as_json()
