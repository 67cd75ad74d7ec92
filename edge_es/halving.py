"""Work in pieces on a device whose memory may turn out to be short, and whose time may be wanted by others meanwhile:
what does not fit is done again in halves, and so is what has become too long."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from edge_es.meter import out_of_memory
from edge_es.model import Costs
from edge_es.slices import Slices

T = TypeVar("T")
TOO_LONG = 2  # times the tokens that a batch may have now: less is not worth two batches


def halving(
    costs: Costs,
    pieces: Iterable[T],
    work: Callable[[T], None],
    halves: Callable[[T], Sequence[T]],
    tokens: Callable[[T], int],
) -> Slices[int]:
    """`work` on every piece; yields after each and returns how many there were. `tokens`: padded ones that a piece
    reads, by which the pace of reading is known.

    A piece that runs out of memory is done again in its halves, and so are all that are still to come; one that has
    no halves raises what it raised. One that was planned when batches could be longer (`Pace.limit`) is halved, too.
    `work` must change nothing, or nothing twice, where it fails.
    """
    waiting, done = deque(pieces), 0
    while waiting:
        piece = waiting.popleft()
        most = costs.reading.tokens()
        if most is not None and tokens(piece) > TOO_LONG * most and len(halves(piece)) > 1:
            waiting.extendleft(reversed(halves(piece)))
            continue
        began = time.perf_counter()
        try:
            work(piece)
        except RuntimeError as error:
            if not out_of_memory(error) or len(halves(piece)) < 2:
                raise
            costs.halve()
            waiting = deque(half for one in (piece, *waiting) for half in halves(one))
        else:
            costs.reading.took(tokens(piece), time.perf_counter() - began)
            done += 1
        yield
    return done


def in_two(index: list[int]) -> list[list[int]]:
    """The halves of a list; itself where it has one entry."""
    half = len(index) // 2
    return [piece for piece in (index[:half], index[half:]) if piece]
