"""`GET /v1/events`: what happens in the daemon, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from service import sse
from service.context import Context, Ctx
from service.openapi import documented, streams

router = APIRouter()
STREAM = streams(
    {"type": "string", "contentMediaType": "application/json"}, ': ping\n\nevent: version\ndata: {"version": 3}\n\n'
)
BACKLOG = 1000  # events that a slow reader may fall behind by; then its stream ends, and it should look anew


async def _stream(context: Context) -> AsyncIterator[str]:
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(text: str) -> None:
        if queue.qsize() <= BACKLOG:
            queue.put_nowait(text if queue.qsize() < BACKLOG else None)

    def listen(name: str, data: dict[str, Any]) -> None:
        with suppress(RuntimeError):  # the loop is gone: nobody listens any more
            loop.call_soon_threadsafe(put, sse.event(data, name))

    unsubscribe = context.engine.subscribe(listen)
    ending = asyncio.ensure_future(context.stopping.wait())
    waiting: asyncio.Future[str | None] | None = None
    try:
        yield sse.PING  # the headers go out at once: from here on nothing is missed
        while True:
            waiting = asyncio.ensure_future(queue.get())
            await asyncio.wait({waiting, ending}, timeout=sse.PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                text = waiting.result()
                if text is None:
                    return
                yield text
                continue
            waiting.cancel()
            if ending.done():
                return
            yield sse.PING
    finally:
        ending.cancel()
        if waiting is not None:
            waiting.cancel()
        unsubscribe()


@router.get("/v1/events", response_class=StreamingResponse, **documented(content=STREAM))
async def events(context: Ctx) -> StreamingResponse:
    """Endless, with a ping every 15 s; ends when the daemon does."""
    return StreamingResponse(_stream(context), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)
