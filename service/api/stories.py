"""What stands behind a mark or an id: the story of a rollback, and an answer that was served."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path

from service.context import Ctx
from service.errors import Unknown
from service.openapi import documented
from service.responses_dashboard import Inference, Story
from service.stories import story

router = APIRouter()


@router.get("/v1/rollbacks/{version}", **documented(Story, 404, 422))
def rollback(context: Ctx, version: Annotated[int, Path(ge=0, lt=2**53)]) -> dict[str, Any]:
    """Which suites dropped, which of their items changed, and what became of the feedback that was taken back."""
    found = story(context.store, context.config, version)
    if found is None:
        raise Unknown(f"version {version} is no rollback; `edge-es versions` lists them", "version")
    return found


@router.get("/v1/inferences/{inference_id:uuid}", **documented(Inference, 404))
def inference(context: Ctx, inference_id: UUID) -> dict[str, Any]:
    """What was asked and answered under an inference id."""
    found = context.store.completion(str(inference_id))
    if found is None:
        raise Unknown(f"there is no answer {inference_id}, or it is too old to be kept", "id")
    return {
        "id": found.id,
        "version": found.version,
        "kind": found.kind,
        "input": found.prompt.as_json(),
        "answers": [{"text": answer.text, "finish_reason": answer.finish_reason} for answer in found.answers],
        "created_at": found.created_at,
    }
