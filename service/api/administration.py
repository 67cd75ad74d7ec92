"""Status, versions, rollback, verification, and whether the daemon learns."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from edge_es.errors import StateError
from service import listings, responses
from service.bodies import json_body, optional_json_body
from service.context import Context, Ctx
from service.errors import ApiError, Unknown
from service.openapi import documented, sends
from service.schemas import Nothing, Pause, Rollback
from service.store import DiskFull

router = APIRouter()
AGAIN = {
    "rollback": {
        "operationId": "rollback_v1_rollback_post",
        "requestBody": {"version": "$response.body#/versions/0/version"},
    }
}


@router.get("/v1/status", **documented(responses.Status))
def status(context: Ctx) -> dict[str, Any]:
    """The row of `edge-es status`."""
    return listings.status(context.store, context.live_status())


@router.get("/v1/workers", **documented(responses.Workers))
def workers(context: Ctx) -> dict[str, Any]:
    """The rows of `edge-es workers`: who evaluates the members of a step on other machines."""
    live = context.live_status()
    there = live is not None and live.workers is not None
    return {
        "evaluator": context.config.workers.evaluator,
        "reason": live.reason if live is not None and there else None,
        "workers": live.workers if live is not None and there else [],
    }


@router.get("/v1/versions", **documented(responses.Versions, links=AGAIN))
def versions(context: Ctx) -> dict[str, Any]:
    """The rows of `edge-es versions`."""
    return {"versions": listings.versions(context.store)}


@router.post("/v1/rollback", **documented(responses.RolledBack, 404, 409, 422, 503, 507, requestBody=sends("Rollback")))
async def rollback(context: Ctx, body: Annotated[Rollback, Depends(json_body(Rollback))]) -> dict[str, int]:
    """A new version with the delta of an earlier one; it is served when this answers."""
    context.require_ready()
    newest = context.store.newest_version()
    if newest is None or body.version > newest:
        raise Unknown(f"version {body.version} does not exist; the newest is {newest}", "version")
    try:
        made = context.engine.rollback(body.version, body.reason or "asked for over the API")
        return {"version": await asyncio.wrap_future(made), "target": body.version}
    except DiskFull:
        raise
    except StateError as error:
        raise ApiError(409, str(error), "version", "not_possible") from None


@router.get("/v1/verify", **documented(responses.Verified, 503))
async def verify(context: Ctx) -> dict[str, Any]:
    """Replays the ledger and hashes the base: the row of `edge-es verify`."""
    context.require_ready()
    return await asyncio.wrap_future(context.engine.verify())


def _learning(context: Context) -> dict[str, Any]:
    row = status(context)
    return {"learning": row["learning"], "reason": row["reason"]}


@router.post(
    "/v1/learning/pause", **documented(responses.LearningState, 422, 503, 507, requestBody=sends("Pause", False))
)
def pause(context: Ctx, body: Annotated[Pause, Depends(optional_json_body(Pause))]) -> dict[str, Any]:
    """No further steps; serving goes on."""
    context.require_ready()
    context.engine.pause(body.reason or "asked for over the API")
    return _learning(context)


@router.post(
    "/v1/learning/resume", **documented(responses.LearningState, 422, 503, 507, requestBody=sends("Nothing", False))
)
def resume(context: Ctx, _: Annotated[Nothing, Depends(optional_json_body(Nothing))]) -> dict[str, Any]:
    """Learning goes on."""
    context.require_ready()
    context.engine.resume()
    return _learning(context)
