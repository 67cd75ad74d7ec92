"""`POST /v1/chat/completions`."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from service.answering import Choice, begin
from service.api.answers import Spell, answered, respond
from service.bodies import json_body
from service.context import Ctx
from service.generation import Piece
from service.responses import ChatCompletion
from service.schemas import ChatRequest

if TYPE_CHECKING:
    from edge_es.answers import TokenLogprob

router = APIRouter()
EXAMPLES = {
    "question": {"model": "pocket", "messages": [{"role": "user", "content": "What is 17+25?"}]},
    "streamed": {"model": "pocket", "messages": [{"role": "user", "content": "What is 17+25?"}], "stream": True},
}
DOCUMENTED = answered(ChatCompletion, "ChatCompletionChunk", "ChatRequest", EXAMPLES)


def _logprobs(found: "list[TokenLogprob] | tuple[TokenLogprob, ...]", spell: Spell) -> dict[str, Any]:
    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = spell(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    content = [
        {**entry(one.token, one.logprob), "top_logprobs": [entry(token, value) for token, value in one.top]}
        for one in found
    ]
    return {"content": content, "refusal": None}


class ChatShape:
    """OpenAI's chat completion."""

    name = "chat.completion"
    chunk_name = "chat.completion.chunk"

    def choice(self, index: int, choice: Choice, spell: Spell, logprobs: bool) -> dict[str, Any]:
        """A finished choice."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": _logprobs(choice.logprobs, spell) if logprobs else None,
            "finish_reason": choice.finish_reason,
        }

    def opening(self, index: int) -> dict[str, Any]:
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def delta(self, piece: Piece, spell: Spell, logprobs: bool) -> dict[str, Any]:
        """Some more text; none where a piece only ends the choice."""
        return {
            "index": piece.choice,
            "delta": {"content": piece.text} if piece.text else {},
            "logprobs": _logprobs(piece.logprobs, spell) if logprobs else None,
            "finish_reason": piece.finish_reason,
        }


@router.post("/v1/chat/completions", **DOCUMENTED)
async def chat_completions(
    context: Ctx, request: Request, body: Annotated[ChatRequest, Depends(json_body(ChatRequest))]
) -> Response:
    """An answer to a chat, in OpenAI's shape."""
    answering = await begin(context, request, body, "chat")
    return await respond(request, answering, body, ChatShape())
