"""For supervisors and Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.context import Ctx

open_router = APIRouter()
router = APIRouter()


@open_router.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@open_router.get("/readyz")
def ready(context: Ctx) -> dict[str, str]:
    """The model is loaded; 503 with an error object until then."""
    context.require_ready()
    return {"status": "ready"}


@router.get("/metrics")
def metrics(context: Ctx) -> Response:
    """Prometheus text."""
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
