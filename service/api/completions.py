"""`POST /v1/completions`."""

from itertools import accumulate
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
EXAMPLES = {
    "text": {"model": "pocket", "prompt": "2+2=", "max_tokens": 4},
    "scored": {"model": "pocket", "prompt": ["2+2=4", "2+2=5"], "max_tokens": 0, "logprobs": 1, "echo": True},
}
DOCUMENTED = answered(Completion, "Completion", "CompletionRequest", EXAMPLES)


class TextShape:
    """OpenAI's text completion. One object writes one response: it counts the characters of each choice.

    echo: choices begin with their prompts, in text and in log-probabilities.
    """

    name = "text_completion"
    chunk_name = "text_completion"

    def __init__(self, echo: bool = False) -> None:
        self._echo = echo
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
            "top_logprobs": [_spelt(one, spell) for one in found],
            "text_offset": offsets,
        }

    def _with_prompt(self, choice: Choice, spell: Spell) -> dict[str, Any]:
        """The prompt's first token has no probability: nothing stands before it."""
        found = [*choice.prompt_logprobs, *choice.logprobs]
        texts = [spell(choice.prompt_ids[0]), *(spell(one.token) for one in found)]
        return {
            "tokens": texts,
            "token_logprobs": [None, *(one.logprob for one in found)],
            "top_logprobs": [None, *(_spelt(one, spell) for one in found)],
            "text_offset": [0, *accumulate(map(len, texts[:-1]))],
        }

    def choice(self, index: int, choice: Choice, spell: Spell, logprobs: bool) -> dict[str, Any]:
        """A finished choice."""
        known = None
        if logprobs:
            known = self._with_prompt(choice, spell) if self._echo else self._logprobs(index, choice.logprobs, spell)
        return {
            "index": index,
            "text": spell(*choice.prompt_ids) + choice.text if self._echo else choice.text,
            "logprobs": known,
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


def _spelt(one: "TokenLogprob", spell: Spell) -> dict[str, float]:
    """The likeliest alternatives by their texts. Of tokens of one text (parts of a character) the likeliest stands."""
    return {spell(token): value for token, value in reversed(one.top)}


@router.post("/v1/completions", **DOCUMENTED)
async def completions(
    context: Ctx, request: Request, body: Annotated[CompletionRequest, Depends(json_body(CompletionRequest))]
) -> Response:
    """A continuation of a text, in OpenAI's shape."""
    answering = await begin(context, request, body, "text")
    return await respond(request, answering, body, TextShape(body.echoes()))
