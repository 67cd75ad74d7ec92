"""Requests as clients send them, streamed, and when each of their tokens came.

Open loop: requests start at random moments at a rate, however slowly they are answered (Poisson arrivals by a seed).
Closed loop: so many clients, each of which asks again as soon as it has its answer.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = 120.0  # seconds for one answer


@dataclass
class Asked:
    """One request. began, and at: seconds on one clock; at: when pieces of the answer came. status: of HTTP, 0 where
    the connection failed or the stream ended in an error. version: the one that answered."""

    began: float
    status: int = 0
    at: list[float] = field(default_factory=list)
    version: str = ""

    @property
    def first(self) -> float | None:
        """Seconds to the first token."""
        return self.at[0] - self.began if self.at else None

    @property
    def gaps(self) -> list[float]:
        """Seconds between tokens."""
        return [later - sooner for sooner, later in zip(self.at, self.at[1:], strict=False)]


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Asked:
    """One streamed chat request."""
    asked = Asked(time.perf_counter())
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response:
            asked.status = response.status_code
            asked.version = response.headers.get("x-edge-es-version", "")
            async for line in response.aiter_lines():
                said = json.loads(line[6:]) if line.startswith("data: {") else {}
                if "error" in said:
                    asked.status = 0
                elif said.get("choices"):
                    asked.at.append(time.perf_counter())
    except httpx.HTTPError:
        asked.status = 0
    return asked


async def open_loop(url: str, bodies: Sequence[dict[str, Any]], rate: float, seconds: float, seed: int) -> list[Asked]:
    """Requests at `rate` a second for `seconds`; waits for the last answers."""
    rng = random.Random(f"load {seed}")
    async with _client(url) as client:
        tasks, due, began = [], 0.0, time.perf_counter()
        while (due := due + rng.expovariate(rate)) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(client, rng.choice(bodies))))
        return list(await asyncio.gather(*tasks))


async def closed_loop(
    url: str, bodies: Sequence[dict[str, Any]], clients: int, seconds: float, seed: int
) -> list[Asked]:
    """`clients` at once for `seconds`; waits for the last answers."""
    async with _client(url) as client:
        ends = time.perf_counter() + seconds

        async def one(number: int) -> list[Asked]:
            rng, found = random.Random(f"load {seed} {number}"), []
            while time.perf_counter() < ends:
                found.append(await ask(client, rng.choice(bodies)))
            return found

        return [asked for some in await asyncio.gather(*map(one, range(clients))) for asked in some]


async def closed_loop_of(
    url: str, bodies: Sequence[dict[str, Any]], clients: int, count: int, seed: int
) -> list[Asked]:
    """`clients` at once until `count` requests are answered."""
    async with _client(url) as client:
        left = iter(range(count))

        async def one(number: int) -> list[Asked]:
            rng, found = random.Random(f"load {seed} {number}"), []
            for _ in left:
                found.append(await ask(client, rng.choice(bodies)))
            return found

        return [asked for some in await asyncio.gather(*map(one, range(clients))) for asked in some]


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False, limits=limits)
