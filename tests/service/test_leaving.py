"""A client that goes away between any two turns of the event loop stops its generation, whatever comes meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_es.answers import Sampling
from edge_es.feedback import Prompt
from service.answering import Answering, Choice, collect
from service.generation import Generation, Piece


def answering(queue: "asyncio.Queue[Piece]") -> Answering:
    counter: Any = SimpleNamespace(inc=lambda *_: None, observe=lambda *_: None)
    metrics = SimpleNamespace(first_token=counter, prompt_tokens=counter, completion_tokens=counter)
    engine = SimpleNamespace(base=SimpleNamespace(end_ids=()))
    context = cast(Any, SimpleNamespace(metrics=metrics, engine=engine))
    generation = Generation("id", (1,), [Sampling()], lambda _: None)
    return Answering(context, "chat", Prompt.user("hi"), None, generation, queue, [Choice((1,))])


@pytest.mark.parametrize("turns", range(6))
def test_a_piece_does_not_swallow_the_cancellation(turns: int) -> None:
    async def leave() -> bool:
        queue: asyncio.Queue[Piece] = asyncio.Queue()
        it = answering(queue)
        work = asyncio.create_task(collect(it))
        await asyncio.sleep(0.01)
        queue.put_nowait(Piece(0, "x", (1,), 0))
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work}, timeout=1)
        return work.cancelled() and it.generation.cancelled

    assert asyncio.run(leave())
