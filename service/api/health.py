"""For supervisors and Prometheus, and the API's description of itself."""

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from service.context import Ctx
from service.openapi import document, documented
from service.responses import Alive, Ready

open_router = APIRouter()
router = APIRouter()


@open_router.get("/healthz", **documented(Alive))
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@open_router.get("/readyz", **documented(Ready, 503))
def ready(context: Ctx) -> dict[str, str]:
    """The model is loaded; 503 with an error object until then."""
    context.require_ready()
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse, **documented(None))
def metrics(context: Ctx) -> Response:
    """Prometheus text."""
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", **documented(content={"application/json": {"schema": {"type": "object"}}}))
def openapi(context: Ctx, request: Request) -> dict[str, Any]:
    """This document. It names the model, which may be a folder of this machine: so it is not for everyone."""
    app = request.app
    app.openapi_schema = app.openapi_schema or document(app, context)
    found: dict[str, Any] = app.openapi_schema
    return found
