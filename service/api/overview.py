"""The model at a glance and over its versions: aggregates, for whoever may ask it for answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.context import Ctx
from service.openapi import documented
from service.overview import overview as read
from service.responses_dashboard import History, Overview

router = APIRouter()


@router.get("/v1/overview", **documented(Overview))
def overview(context: Ctx) -> dict[str, Any]:
    """What the model is, what it learned this week, and whether anything is forgotten."""
    return read(context.store, context.history, context.live_status())


@router.get("/v1/history", **documented(History, 422))
def history(
    context: Ctx,
    first: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    last: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    points: Annotated[int, Query(ge=1, le=2000)] = 300,
) -> dict[str, Any]:
    """Retention, fitness and norms over the versions `first` to `last`, in at most about `points` points a line."""
    return context.history.read(first, last, points)
