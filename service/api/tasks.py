"""Tasks: prompts whose answers the model's own attempts are graded on."""

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from service import intake
from service.bodies import JsonLines, JsonObject
from service.context import Ctx

router = APIRouter()


@router.post("/v1/tasks")
async def send(context: Ctx, raw: JsonObject) -> dict[str, str]:
    """One task; it is durable when this answers. `GET /v1/feedback/{id}` follows it."""
    context.require_ready()
    return {"feedback_id": await run_in_threadpool(intake.take, context, raw, "task")}


@router.post("/v1/tasks/batch")
async def send_lines(context: Ctx, lines: JsonLines) -> dict[str, Any]:
    """JSON Lines, reported on line by line."""
    context.require_ready()
    return {"results": await run_in_threadpool(intake.take_lines, context, lines, "task")}
