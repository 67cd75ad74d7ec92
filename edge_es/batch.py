"""Which events a step learns from: what is not yet solved is drawn more often, and asks for longer steps."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
LEAST_CHANCE = 0.1  # weight of an event that every member solves, so that it is looked at again
LEAST_REACH = 0.05  # share of the step size that is left when all is solved
WINDOW = 128  # events by which it is judged how much is solved: what was learned long ago says nothing of what is new
RECENT = 0.5  # weight of the newest look at an event
KNOWN = 4096  # events of which something is known: those looked at last; a turn draws from half as many


def chance(solved: float, doubts: int = 0) -> float:
    """Weight of an event in a draw. solved: share of members that solve it. doubts: looks at an event that is doubted
    (`edge_es.consensus`). What contradicts the rest is never solved, and would fill the batches once the rest is."""
    return max(LEAST_CHANCE, (1 - solved) / max(1, doubts))


def order(chances: Sequence[float], rng: random.Random) -> list[int]:
    """Indices of these events as they are drawn one after another without replacement. Weighted reservoir sampling:
    Efraimidis and Spirakis, Information Processing Letters 97 (2006)."""
    keys = [rng.random() ** (1 / one) for one in chances]
    return sorted(range(len(keys)), key=lambda i: -keys[i])


def capped(sources: Sequence[str | None], count: int, share: float) -> list[int]:
    """Indices of the first `count` of these candidates, of which `sources` has the source each, except that a source
    which has `share` of the batch stands back as long as others have any left."""
    most = max(1, int(share * count))
    taken: Counter[str | None] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for index, source in enumerate(sources):
        within = taken[source] < most and len(first) < count
        (first if within else rest).append(index)
        taken[source] += within
    return sorted([*first, *rest[: count - len(first)]])


def after(solved: Mapping[str, float], ids: Sequence[str], shares: Sequence[float | None]) -> dict[str, float]:
    """What is known of each event after another look, those looked at last at the end; None: nothing can be said of
    this event."""
    known = dict(solved)
    look(known, ids, shares)
    return known


def look(known: dict[str, float], ids: Sequence[str], shares: Sequence[float | None]) -> None:
    """The same in place, for a replay of many looks."""
    for one, share in zip(ids, shares, strict=True):
        if share is not None:
            before = known.pop(one, share)
            known[one] = (1 - RECENT) * before + RECENT * share
    forget(known)


def forget(known: dict[str, T]) -> None:
    """Drops the events that were looked at longest ago, over KNOWN: a daemon runs for months."""
    while len(known) > KNOWN:
        del known[next(iter(known))]


def reach(solved: Mapping[str, float]) -> float:
    """Factor on the step size, from the events that were looked at last: 1 while none of them is solved, LEAST_REACH
    when all are. Near the end a step's noise would undo as much as its signal gains."""
    last = list(solved.values())[-WINDOW:]
    unsolved = 1 - sum(last) / len(last) if last else 1.0
    return LEAST_REACH + (1 - LEAST_REACH) * unsolved
