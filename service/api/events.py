"""`GET /v1/events`: what happens in the daemon, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service import sse
from service.context import Context, Ctx
from service.errors import ApiError
from service.news import Item, Reader
from service.openapi import documented, header, streams
from service.security import is_admin

router = APIRouter()
STREAM = streams(
    {"type": "string", "contentMediaType": "application/json"},
    ': ping\n\nid: 5f0c-7\nevent: version\ndata: {"attempt": 4, "version": 3, "kind": "step"}\n\n',
)
STRANGERS = 32  # streams of those who hold no admin token: each takes one of the connections, and none ever ends
LAST = header("Last-Event-ID", "the id of the last event that was read: what came after it is told first")


def _text(item: Item, trusted: bool) -> str:
    data: dict[str, Any] = item.data
    if not trusted:  # a reason may quote what people wrote
        data = {key: value for key, value in data.items() if key != "reason"}
    return sse.event(data, item.kind, item.id)


async def _stream(context: Context, reader: Reader) -> AsyncIterator[str]:
    ending = asyncio.ensure_future(context.stopping.wait())
    waiting: asyncio.Future[Item | None] | None = None
    try:
        yield sse.PING  # the headers go out at once: from here on nothing is missed
        if reader.missed:
            yield sse.event({}, "missed")
        while True:
            waiting = asyncio.ensure_future(reader.queue.get())
            await asyncio.wait({waiting, ending}, timeout=sse.PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                item = waiting.result()
                if item is None:
                    return
                yield _text(item, reader.trusted)
                continue
            waiting.cancel()
            if ending.done():
                return
            yield sse.PING
    finally:
        ending.cancel()
        if waiting is not None:
            waiting.cancel()


class EventStream(StreamingResponse):
    """The stream of one reader, whose place is free when it ends: were it before the first byte, too, where the
    generator was never begun and so has no end of its own."""

    def __init__(self, context: Context, reader: Reader) -> None:
        super().__init__(_stream(context, reader), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)
        self._leave = partial(context.news.leave, reader)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


@router.get("/v1/events", response_class=StreamingResponse, **documented(content=STREAM, parameters=[LAST]))
async def events(context: Ctx, request: Request) -> StreamingResponse:
    """Endless, with a ping every 15 s; ends when the daemon does. `version` (null: the attempt was rejected), `probe`,
    `rollback`, `learning` and `feedback` (counts by state); `missed`: look anew, what came meanwhile is not kept.

    Reasons are told to holders of the admin token alone.
    """
    trusted = is_admin(request)
    if not trusted and sum(not reader.trusted for reader in context.news.readers) >= STRANGERS:
        message = f"{STRANGERS} streams without the admin token are open; try again later, or send the token"
        raise ApiError(429, message, code="busy", headers={"Retry-After": "60"})
    return EventStream(context, context.news.read(request.headers.get("last-event-id"), trusted))
