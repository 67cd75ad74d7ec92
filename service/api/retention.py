"""What became of the prior abilities, and a probe at once."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from service import listings, responses_retention
from service.bodies import optional_json_body
from service.context import Ctx
from service.errors import ApiError
from service.openapi import documented, sends
from service.schemas import Nothing

router = APIRouter()


@router.get("/v1/retention", **documented(responses_retention.RetentionLog, 422))
def retention(
    context: Ctx,
    version: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    suite: str | None = None,
    items: bool = False,
) -> dict[str, Any]:
    """The rows of `edge-es retention log`; with a version and `items`, item by item too."""
    found: dict[str, Any] = {"retention": listings.retention_log(context.store, version, suite)}
    if items:
        if version is None:
            raise ApiError(400, "items are of one version; name it by version", "version", "missing_field")
        rows = listings.retention_items(context.store, version)
        found["items"] = [row for row in rows if suite is None or row["suite"] == suite]
    return found


@router.get("/v1/retention/blame", **documented(responses_retention.Blame))
def blame(context: Ctx) -> dict[str, Any]:
    """The rows of `edge-es retention blame`."""
    return {"blame": listings.blame(context.store)}


@router.get("/v1/probes", **documented(responses_retention.Suites))
def suites(context: Ctx) -> dict[str, Any]:
    """The rows of `edge-es probe list`."""
    return {"suites": listings.suites(context.store)}


@router.post(
    "/v1/probes/run", **documented(responses_retention.Retention, 422, 503, 507, requestBody=sends("Nothing", False))
)
async def run_probes(context: Ctx, _: Annotated[Nothing, Depends(optional_json_body(Nothing))]) -> dict[str, Any]:
    """Probes the served version; answers with its rows when they are stored."""
    context.require_ready()
    await asyncio.wrap_future(context.engine.probe())
    rows = await asyncio.to_thread(listings.retention_log, context.store)
    newest = max((row["version"] for row in rows), default=None)
    return {"retention": [row for row in rows if row["version"] == newest]}
