"""`GET /v1/models`."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from service import responses
from service.answering import ANCHOR, require_model
from service.context import Context, Ctx
from service.openapi import documented

router = APIRouter()


def _model(context: Context) -> dict[str, Any]:
    bound = context.store.model_binding()
    created = int(datetime.fromisoformat(bound.bound_at).timestamp()) if bound else 0
    return {"id": context.model_id, "object": "model", "created": created, "owned_by": "edge-es"}


@router.get("/v1/models", **documented(responses.Models))
def list_models(context: Ctx) -> dict[str, Any]:
    """The one model that is served."""
    return {"object": "list", "data": [_model(context)]}


@router.get("/v1/models/{name:path}", **documented(responses.Model, 404))
def retrieve_model(context: Ctx, name: str) -> dict[str, Any]:
    """The served model by its name; with @0 behind it the model as first loaded."""
    pinned = require_model(context, name)
    return {**_model(context), "id": context.model_id + (ANCHOR if pinned == 0 else "")}
