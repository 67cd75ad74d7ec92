"""Seconds and bytes. Time: works in turn, so that a busy machine is busy for all of them. Memory: what tensors hold.

Memory is taken in a pass of its own, since counting it on a CPU is slow.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edge_es.meter import wait


def clock(device: torch.device) -> float:
    """Seconds since some moment, when all that was asked of the device is done."""
    wait(device)
    return time.perf_counter()


@dataclass(frozen=True)
class Runs:
    """seconds: of each measured run; results: what each returned."""

    seconds: tuple[float, ...]
    results: tuple[Any, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def alternate(
    device: torch.device,
    works: Mapping[str, Callable[[], object]],
    repeats: int,
    warm: Callable[[], object] | None = None,
    least: float = 0.0,
) -> dict[str, Runs]:
    """`repeats` rounds of all works in turn, and more until they took `least` seconds together, after one round that is
    not counted; `warm` stands for that round where a work is too slow to be run once for nothing."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    results: dict[str, list[object]] = {name: [] for name in works}
    for work in [warm] if warm is not None else works.values():
        work()
    while any(len(some) < repeats for some in seconds.values()) or sum(map(sum, seconds.values())) < least:
        for name, work in works.items():
            began = clock(device)
            result = work()
            seconds[name].append(clock(device) - began)
            results[name].append(result)
    return {name: Runs(tuple(seconds[name]), tuple(results[name])) for name in works}
