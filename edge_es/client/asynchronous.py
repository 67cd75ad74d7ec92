"""The client for asyncio: what `plain.py` has, awaited. A test holds the two to the same methods."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any, Concatenate

import httpx

from edge_es.client import calls, connection
from edge_es.client.calls import Call, Chat, P, T, as_method
from edge_es.client.values import Answer, Piece, Status

QUIET = 3  # looks in a row at a learner that rests: one may fall between two steps


def _sent(call: Callable[P, Call[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._call(call(*args, **kwargs))

    return as_method(call, method)


class AsyncClient:
    """A daemon at `url`; default: $EDGE_ES_URL, else 127.0.0.1:8420.

    token: default: $EDGE_ES_TOKEN, else the admin token in the state folder (state_dir), which only that folder's own
    daemon and loopback are told. Answers on loopback need none. timeout: seconds. retries: further tries where the
    daemon has too much to do (429) or is loading (503); it is waited as long as its Retry-After says.

    Raises Unreachable for what is no address. Methods raise Refused with the daemon's own message, TooBusy after the
    last try, Unreachable where no daemon answers, or something else does.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        state_dir: Path | None = None,
        timeout: httpx.Timeout | float = connection.TIMEOUT,
        retries: int = connection.RETRIES,
    ) -> None:
        self.url, self.retries = connection.address(url), retries
        self._http = httpx.AsyncClient(**connection.options(self.url, token, state_dir, timeout))
        self._model: str | None = None

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections."""
        await self._http.aclose()

    async def _call(self, call: Call[T]) -> T:
        for tries in count():
            try:
                response = await self._http.request(call.method, call.path, **call.sent())
            except httpx.HTTPError as error:
                raise connection.unreachable(self.url, error) from None
            if response.is_success:
                return connection.understood(self.url, call.read_text, response.text)
            if tries >= self.retries or not connection.may_try_again(response):
                raise connection.refusal(response)
            await asyncio.sleep(connection.pause(response, tries))
        raise AssertionError("the loop ends by itself")

    async def _named(self, model: str | None) -> str:
        if model is None and self._model is None:
            self._model = (await self.models())[0]
        return model or self._model or ""

    # answers

    models = _sent(calls.models)

    async def chat(self, asked: Chat, *, model: str | None = None, session: str | None = None, **more: Any) -> Answer:
        """The answer to what a user says, or to messages with role and content. session: the episode it is part of.

        model: default: the served one; with "@0" behind it the anchor. more: temperature, max_tokens, top_p, stop, seed
        and what else the API takes. Raises Refused: 404 for a model that is not served, 422 for a value that is wrong.
        """
        return await self._call(calls.completion(asked, await self._named(model), session, False, more))

    async def stream(
        self, asked: Chat, *, model: str | None = None, session: str | None = None, **more: Any
    ) -> AsyncIterator[Piece]:
        """The same, piece by piece. Whoever stops reading stops the answer. Raises Refused where it breaks off, too."""
        call = calls.completion(asked, await self._named(model), session, True, more)
        for tries in count():
            try:
                async with self._http.stream(call.method, call.path, **call.sent()) as response:
                    if response.is_success:
                        async for line in response.aiter_lines():
                            piece = connection.understood(self.url, calls.piece_of, line)
                            if piece is not None:
                                yield piece
                        return
                    await response.aread()
            except httpx.HTTPError as error:
                raise connection.unreachable(self.url, error) from None
            if tries >= self.retries or not connection.may_try_again(response):
                raise connection.refusal(response)
            await asyncio.sleep(connection.pause(response, tries))

    # feedback

    rate = _sent(calls.rate)
    demonstrate = _sent(calls.demonstrate)
    prefer = _sent(calls.prefer)
    comment = _sent(calls.comment)
    task = _sent(calls.task)
    fate = _sent(calls.fate)

    # the model

    status = _sent(calls.status)
    versions = _sent(calls.versions)
    retention = _sent(calls.retention)
    probe = _sent(calls.probe)
    rollback = _sent(calls.rollback)
    pause = _sent(calls.pause)
    resume = _sent(calls.resume)

    async def wait_for_learning(self, timeout: float | None = None, every: float = 0.5) -> Status:
        """Waits until the learner is idle or paused, QUIET looks in a row; the last status.

        timeout, every: seconds. Raises TimeoutError.
        """
        until = None if timeout is None else time.monotonic() + timeout
        quiet = 0
        while True:
            found = await self.status()
            quiet = 0 if found.learning == "active" else quiet + 1
            if quiet >= QUIET:
                return found
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"still learning after {timeout:g} s, at version {found.version}")
            await asyncio.sleep(every)
