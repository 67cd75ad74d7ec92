"""Tasks: prompts whose answers the model's own attempts are graded on."""

import json
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from service import intake
from service.api.feedback import FOLLOWED
from service.bodies import JsonLines, JsonObject
from service.context import Ctx
from service.openapi import documented, sends, sends_lines
from service.responses import Accepted, Lines

router = APIRouter()
GRADED = {"input": {"prompt": "2+2="}, "grader": {"type": "numeric", "reference": 4}}
SENT = documented(Accepted, 409, 422, 503, 507, requestBody=sends("Task", examples={"sum": GRADED}), **FOLLOWED)


@router.post("/v1/tasks", **SENT)
async def send(context: Ctx, raw: JsonObject) -> dict[str, str]:
    """One task; it is durable when this answers. `GET /v1/feedback/{id}` follows it."""
    context.require_ready()
    return {"feedback_id": await run_in_threadpool(intake.take, context, raw, "task")}


@router.post("/v1/tasks/batch", **documented(Lines, 503, 507, requestBody=sends_lines(json.dumps(GRADED) + "\n")))
async def send_lines(context: Ctx, lines: JsonLines) -> dict[str, Any]:
    """JSON Lines, reported on line by line."""
    context.require_ready()
    return {"results": await run_in_threadpool(intake.take_lines, context, lines, "task")}
