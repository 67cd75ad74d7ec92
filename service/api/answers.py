"""What chat and text completions share: the response, plain or streamed, around shapes of their own."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from service import sse
from service.answering import Answering, Choice, collect, pieces, while_connected
from service.errors import ApiError
from service.generation import Piece
from service.openapi import documented, header, json_text, sends, streams
from service.schemas import AnswerRequest


class Shape(Protocol):
    """How one endpoint writes answers."""

    name: str
    chunk_name: str

    def choice(self, index: int, choice: Choice, spell: "Spell", logprobs: bool) -> dict[str, Any]:
        """A finished choice."""
        ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that opens a choice, where there is one."""
        ...

    def delta(self, piece: Piece, spell: "Spell", logprobs: bool) -> dict[str, Any]:
        """A piece of a choice."""
        ...


Spell = Callable[..., str]  # the text of tokens


def answered(answer: type[BaseModel], chunk: str, request: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the route: whole or streamed, named by version, with links to feedback on it."""
    data = {"anyOf": [json_text(chunk), json_text("ErrorBody"), {"const": "[DONE]"}], "description": "with `stream`"}
    session = header("X-Session-Id", "the episode it is part of", {"type": "string", "minLength": 1, "maxLength": 128})
    rating = {"inference_id": "$response.body#/id", "metric_name": "thumbs", "value": True}
    return documented(
        answer,
        404,
        422,
        503,
        content=streams(data, "data: {...}\n\ndata: [DONE]\n\n"),
        headers={"x-edge-es-version": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "required": True}},
        links={"rating": {"operationId": "send_v1_feedback_post", "requestBody": rating}},
        requestBody=sends(request, examples=examples),
        parameters=[session],
    )


def speller(answering: Answering) -> Spell:
    """Token ids as text."""
    from edge_es.model import decode_text

    return lambda *tokens: decode_text(answering.context.engine.base, tokens)


async def respond(request: Request, answering: Answering, body: AnswerRequest, shape: Shape) -> Response:
    """The whole answer, or a stream whose headers carry the version already."""
    logprobs = body.alternatives() >= 0
    if body.stream:
        incoming = pieces(answering)
        first = await while_connected(request, _first(incoming))
        usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = _chunks(answering, incoming, first, shape, logprobs, usage)
        headers = {**answering.headers(), **sse.HEADERS}
        return StreamingResponse(chunks, media_type=sse.MEDIA_TYPE, headers=headers)
    await while_connected(request, collect(answering))
    spell = speller(answering)
    choices = [shape.choice(i, choice, spell, logprobs) for i, choice in enumerate(answering.choices)]
    answer = {**answering.head(shape.name), "choices": choices, "usage": answering.usage()}
    return JSONResponse(answer, headers=answering.headers())


async def _first(incoming: AsyncIterator[Piece | None]) -> Piece:
    async for piece in incoming:
        if piece is not None:
            return piece
    raise AssertionError("a generation has at least one piece")


async def _chunks(
    answering: Answering,
    incoming: AsyncIterator[Piece | None],
    first: Piece,
    shape: Shape,
    logprobs: bool,
    usage: bool,
) -> AsyncIterator[str]:
    def chunk(choices: list[dict[str, Any]], counts: dict[str, int] | None = None) -> str:
        known = {"usage": counts} if usage else {}
        return sse.event({**answering.head(shape.chunk_name), "choices": choices, **known})

    spell = speller(answering)
    for i in range(len(answering.choices)):
        opening = shape.opening(i)
        if opening is not None:
            yield chunk([opening])
    piece: Piece | None = first
    try:
        while True:
            yield sse.PING if piece is None else chunk([shape.delta(piece, spell, logprobs)])
            try:
                piece = await anext(incoming)
            except StopAsyncIteration:
                break
        if usage:
            yield chunk([], answering.usage())
        yield sse.DONE
    except ApiError as error:  # the headers are long gone: clients look for an error in the data
        yield sse.event(error.as_json())
    finally:
        answering.generation.cancelled = True
