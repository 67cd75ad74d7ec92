"""Invariant 9: what a population batch really holds stays within the planned room, and batches shrink to fit."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edge_es import strategy
from edge_es.config import LearnSection
from edge_es.fitness import evaluate, noise_bytes
from edge_es.memory import plan
from edge_es.model import Base
from edge_es.slices import run
from tests.contract.conftest import demonstrations, random_delta


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive at once; `peak` is the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.free, key, size)
        return out

    def free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


@pytest.mark.parametrize(("extra", "shrunk"), [(700_000, True), (2_000_000, True), (20_000_000, False)])
def test_a_step_stays_in_its_room(base: Base, extra: int, shrunk: bool) -> None:
    delta = random_delta(base)
    population = strategy.ask(delta, 0, 1, 16, 0.1)
    held = noise_bytes(population, base.dtype)
    room = plan(base, delta, str(base.bytes() + held + extra), held)
    work = evaluate(base, delta, population, demonstrations(6), room, {}, LearnSection().task_tokens)
    with LiveBytes() as live:
        fitness = run(work)
    assert live.peak - held <= room.room, (live.peak, held, room)
    assert live.peak > 0.1 * min(room.room, 5_000_000)  # the meter really sees the tensors
    assert (fitness.batches > 1) == shrunk  # and the row's stats say so
