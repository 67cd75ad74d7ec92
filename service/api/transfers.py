"""`POST /v1/export` and `POST /v1/import`: what was learned goes out, and what was learned elsewhere comes in."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from edge_es.errors import StateError
from service import exporting, responses
from service.bodies import json_body
from service.context import Ctx
from service.errors import ApiError, Unknown
from service.exporting import Wanted
from service.openapi import documented, sends
from service.schemas import Export, Import
from service.store import DiskFull

router = APIRouter()


@router.post("/v1/export", **documented(responses.Exported, 404, 409, 422, 503, 507, requestBody=sends("Export")))
async def export(context: Ctx, body: Annotated[Export, Depends(json_body(Export))]) -> dict[str, Any]:
    """Writes an export into the state folder's `exports/`; it is there, whole, when this answers."""
    context.require_ready()
    newest = context.store.newest_version()
    if body.version is not None and (newest is None or body.version > newest):
        raise Unknown(f"version {body.version} does not exist; the newest is {newest}", "version")
    wanted = Wanted(body.kind, body.version, body.rank, body.base_name)
    try:
        return await asyncio.wrap_future(context.engine.export(wanted, body.name))
    except DiskFull:
        raise
    except StateError as error:
        raise ApiError(409, str(error), code="not_possible") from None


@router.post("/v1/import", **documented(responses.Imported, 404, 409, 422, 503, 507, requestBody=sends("Import")))
async def import_(context: Ctx, body: Annotated[Import, Depends(json_body(Import))]) -> dict[str, Any]:
    """Takes a folder of the state folder's `imports/` as the delta that learning goes on from; it is served when this
    answers."""
    context.require_ready()
    folder = exporting.place(context.store.folder, exporting.IMPORTS, body.name)
    if not folder.is_dir():
        raise Unknown(f"there is no {folder}; put what is to be imported there", "name")
    try:
        return await asyncio.wrap_future(context.engine.adopt(body.kind, folder, bool(body.any_base)))
    except DiskFull:
        raise
    except StateError as error:
        raise ApiError(409, str(error), code="not_possible") from None
