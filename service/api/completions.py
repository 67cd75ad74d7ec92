"""`POST /v1/completions`."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.answering import Choice, begin
from service.api.answers import Spell, answered, respond
from service.bodies import json_body
from service.context import Ctx
from service.generation import Piece
from service.responses import Completion
from service.schemas import CompletionRequest

if TYPE_CHECKING:
    from edge_es.answers import TokenLogprob

router = APIRouter()
EXAMPLES = {"text": {"model": "pocket", "prompt": "2+2=", "max_tokens": 4}}
DOCUMENTED = answered(Completion, "Completion", "CompletionRequest", EXAMPLES)


class TextShape:
    """OpenAI's text completion. One object writes one response: it counts the characters of each choice."""

    name = "text_completion"
    chunk_name = "text_completion"

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def _logprobs(
        self, index: int, found: "list[TokenLogprob] | tuple[TokenLogprob, ...]", spell: Spell
    ) -> dict[str, Any]:
        texts = [spell(one.token) for one in found]
        offsets = []
        for text in texts:
            offsets.append(self._offsets.setdefault(index, 0))
            self._offsets[index] += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [one.logprob for one in found],
            "top_logprobs": [{spell(token): value for token, value in one.top} for one in found],
            "text_offset": offsets,
        }

    def choice(self, index: int, choice: Choice, spell: Spell, logprobs: bool) -> dict[str, Any]:
        """A finished choice."""
        return {
            "index": index,
            "text": choice.text,
            "logprobs": self._logprobs(index, choice.logprobs, spell) if logprobs else None,
            "finish_reason": choice.finish_reason,
        }

    def opening(self, index: int) -> None:
        """Text needs none."""

    def delta(self, piece: Piece, spell: Spell, logprobs: bool) -> dict[str, Any]:
        """Some more text."""
        return {
            "index": piece.choice,
            "text": piece.text,
            "logprobs": self._logprobs(piece.choice, piece.logprobs, spell) if logprobs else None,
            "finish_reason": piece.finish_reason,
        }


@router.post("/v1/completions", **DOCUMENTED)
async def completions(
    context: Ctx, request: Request, body: Annotated[CompletionRequest, Depends(json_body(CompletionRequest))]
) -> Response:
    """A continuation of a text, in OpenAI's shape."""
    answering = await begin(context, request, body, "text")
    return await respond(request, answering, body, TextShape())
