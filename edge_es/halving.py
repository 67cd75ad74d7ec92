"""Work in pieces on a device whose memory may turn out to be short: what does not fit is done again in halves."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from edge_es.meter import out_of_memory
from edge_es.model import Costs
from edge_es.slices import Slices

T = TypeVar("T")


def halving(
    costs: Costs, pieces: Iterable[T], work: Callable[[T], int], halves: Callable[[T], Sequence[T]]
) -> Slices[int]:
    """`work` on every piece; yields after each and returns how many there were. `work` returns the padded tokens that
    it read, by which the pace of reading is known.

    A piece that runs out of memory is done again in its halves, and so are all that are still to come; one that has
    no halves raises what it raised. `work` must change nothing, or nothing twice, where it fails.
    """
    waiting, done = list(pieces), 0
    while waiting:
        piece = waiting.pop(0)
        began = time.perf_counter()
        try:
            tokens = work(piece)
        except RuntimeError as error:
            if not out_of_memory(error) or len(halves(piece)) < 2:
                raise
            costs.halve()
            waiting = [half for one in (piece, *waiting) for half in halves(one)]
        else:
            costs.reading.took(tokens, time.perf_counter() - began)
            done += 1
        yield
    return done


def in_two(index: list[int]) -> list[list[int]]:
    """The halves of a list; itself where it has one entry."""
    half = len(index) // 2
    return [piece for piece in (index[:half], index[half:]) if piece]
