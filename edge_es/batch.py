"""Which events a step learns from: what is not yet solved is drawn more often, and asks for longer steps."""

import random
from collections.abc import Mapping, Sequence

LEAST_CHANCE = 0.1  # weight of an event that every member solves, so that it is looked at again
LEAST_REACH = 0.05  # share of the step size that is left when all is solved
RECENT = 0.5  # weight of the newest look at an event


def draw(ids: Sequence[str], solved: Mapping[str, float], count: int, rng: random.Random) -> list[int]:
    """Indices of at most `count` of these events, without replacement, each by the share of members that do not solve
    it yet. Weighted reservoir sampling: Efraimidis and Spirakis, Information Processing Letters 97 (2006)."""
    keys = [rng.random() ** (1 / max(LEAST_CHANCE, 1 - solved.get(one, 0.0))) for one in ids]
    return sorted(sorted(range(len(ids)), key=lambda i: -keys[i])[:count])


def after(solved: Mapping[str, float], ids: Sequence[str], shares: Sequence[float | None]) -> dict[str, float]:
    """What is known of each event after another look; None: nothing can be said of this event."""
    known = dict(solved)
    for one, share in zip(ids, shares, strict=True):
        if share is not None:
            known[one] = share if one not in known else (1 - RECENT) * known[one] + RECENT * share
    return known


def reach(shares: Sequence[float | None]) -> float:
    """Factor on the step size, from what is known of a batch's events: the square of the share that is not solved yet,
    LEAST_REACH at least; 1 where nothing can be said of them. Near the end a step's noise would undo as much as its
    signal gains. The square, since unsolved events are drawn more often: of a batch that is half unsolved, a tenth of
    all events are."""
    unsolved = sum(1 - (share or 0.0) for share in shares) / len(shares) if shares else 1.0
    return max(LEAST_REACH, unsolved**2)
