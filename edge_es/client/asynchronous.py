"""The client for asyncio: what `plain.py` has, awaited. A test holds the two to the same methods."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import httpx

from edge_es.client import calls, values
from edge_es.client.calls import Chat
from edge_es.client.values import Answer, Fate, Piece, RetentionRow, Status, Version

T = TypeVar("T")
QUIET = 3  # one look may fall between two steps


class AsyncClient:
    """A daemon at `url`; default: $EDGE_ES_URL, else 127.0.0.1:8420.

    token: default: $EDGE_ES_TOKEN, else the admin token in the state folder (state_dir; without one the user's, for
    a daemon on loopback alone). Answers on loopback need none. timeout: seconds. retries: further tries where the
    daemon has too much to do (429) or is loading (503); it is waited as long as its Retry-After says. Methods raise
    Refused with the daemon's own message, TooBusy after the last try, Unreachable where none answers.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        state_dir: Path | None = None,
        timeout: httpx.Timeout | float = calls.TIMEOUT,
        retries: int = calls.RETRIES,
    ) -> None:
        self.url, self.retries = calls.address(url), retries
        self._http = httpx.AsyncClient(**calls.options(self.url, token, state_dir, timeout))
        self._model: str | None = None

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections."""
        await self._http.aclose()

    async def _call(self, call: calls.Call[T]) -> T:
        for tries in count():
            try:
                response = await self._http.request(call.method, call.path, **call.sent())
            except httpx.HTTPError as error:
                raise calls.unreachable(self.url, error) from None
            if response.is_success:
                return call.read(response.json())
            if tries >= self.retries or not calls.may_try_again(response):
                raise calls.refusal(response)
            await asyncio.sleep(calls.pause(response, tries))
        raise AssertionError("the loop ends by itself")

    # answers

    async def models(self) -> list[str]:
        """Names of what is served: one."""
        return await self._call(calls.models())

    async def _named(self, model: str | None) -> str:
        if model is None and self._model is None:
            self._model = (await self.models())[0]
        return model or self._model or ""

    async def chat(self, asked: Chat, *, model: str | None = None, session: str | None = None, **more: Any) -> Answer:
        """The answer to what a user says, or to messages with role and content. session: the episode it is part of.
        more: temperature, max_tokens, top_p, stop, seed and what else the API takes."""
        return await self._call(calls.chat(asked, await self._named(model), session, False, more))

    async def stream(
        self, asked: Chat, *, model: str | None = None, session: str | None = None, **more: Any
    ) -> AsyncIterator[Piece]:
        """The same, piece by piece. Whoever stops reading stops the answer."""
        call = calls.chat(asked, await self._named(model), session, True, more)
        for tries in count():
            try:
                async with self._http.stream(call.method, call.path, **call.sent()) as response:
                    if response.is_success:
                        async for line in response.aiter_lines():
                            found = calls.event_data(line)
                            piece = values.piece(found) if found is not None else None
                            if piece is not None:
                                yield piece
                        return
                    await response.aread()
            except httpx.HTTPError as error:
                raise calls.unreachable(self.url, error) from None
            if tries >= self.retries or not calls.may_try_again(response):
                raise calls.refusal(response)
            await asyncio.sleep(calls.pause(response, tries))

    # feedback

    async def rate(
        self,
        of: str | None = None,
        value: bool | float = True,
        *,
        metric: str = "thumbs",
        episode: str | None = None,
        asked: Chat | None = None,
        answer: str | None = None,
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> str:
        """A rating of a served answer by its id, of an episode, or of any answer to a prompt (asked, answer). The
        event's id. id: a UUID of one's own; the same event sent again under it counts once."""
        target = calls.target(of, episode, asked, answer)
        return await self._call(calls.feedback(metric, value, target, tags, id))

    async def demonstrate(
        self,
        asked: Chat | None,
        answer: str,
        *,
        of: str | None = None,
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> str:
        """The better answer to a prompt, or (asked None) to what the inference `of` answered. The event's id."""
        target = calls.target(of, None, asked)
        return await self._call(calls.feedback("demonstration", answer, target, tags, id))

    async def prefer(
        self,
        asked: Chat | None,
        chosen: str,
        rejected: str,
        *,
        of: str | None = None,
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> str:
        """Which of two answers is better. The event's id."""
        pair = {"chosen": chosen, "rejected": rejected}
        return await self._call(calls.feedback("preference", pair, calls.target(of, None, asked), tags, id))

    async def comment(
        self,
        text: str,
        *,
        of: str | None = None,
        episode: str | None = None,
        asked: Chat | None = None,
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> str:
        """Words on an answer, an episode or a prompt: kept, not learned from. The event's id."""
        return await self._call(calls.feedback("comment", text, calls.target(of, episode, asked), tags, id))

    async def task(
        self,
        asked: Chat,
        grader: Mapping[str, Any],
        *,
        tags: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> str:
        """A prompt whose answers a grader judges, such as {"type": "numeric", "reference": 42}. The event's id."""
        return await self._call(calls.task(asked, grader, tags, id))

    async def fate(self, id: str) -> Fate:
        """What became of an event."""
        return await self._call(calls.fate(id))

    # the model

    async def status(self) -> Status:
        """Version, learning and retention now."""
        return await self._call(calls.status())

    async def versions(self) -> list[Version]:
        """All attempts to learn, oldest first."""
        return await self._call(calls.versions())

    async def retention(self, version: int | None = None, suite: str | None = None) -> list[RetentionRow]:
        """What became of the prior abilities, oldest first."""
        return await self._call(calls.retention(version, suite))

    async def probe(self) -> list[RetentionRow]:
        """Probes the served version now; its rows."""
        return await self._call(calls.run_probes())

    async def rollback(self, version: int, reason: str | None = None) -> int:
        """Serves an earlier version's delta again; the number of the new version that has it."""
        return await self._call(calls.rollback(version, reason))

    async def pause(self, reason: str | None = None) -> str:
        """No further steps; answers go on. How learning stands then."""
        return await self._call(calls.learning("pause", reason))

    async def resume(self) -> str:
        """Learning goes on."""
        return await self._call(calls.learning("resume"))

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
