"""Which events disagree with the others, look after look: outliers among events, found and clipped by rank.

Scores of single events are nearly all noise, and a wrong lesson's are no larger than a right one's, so that no trimmed
mean of one batch tells them apart. What does is the sign: where honest events mostly point one way, the score of an
event that contradicts them falls for members for which theirs rises. An event's agreement is the correlation of its
scores with the weighted mean of the others' across the members of a batch, averaged over its looks. The lowest ranks
of a batch, as far as they are doubted, do not count in the fitness; they still count in what is known of them. An event
that has nothing to do with the others agrees by 0 on average, and is not what this is about. What is decided of an
event in a step follows from earlier steps alone: a batch that chose by its own noise would step along it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_es.batch import forget

LONG = 16  # looks over which an agreement is averaged: what the others are may change
LEAST_SOLVED = 0.1  # share of members that solve an event, from which on it contradicts nothing
DOUBTED = 0.01  # weight in the consensus of an event that is doubted


@dataclass(frozen=True)
class Standing:
    """agreement: mean over the looks, -1 to 1. looks: batches that it was part of."""

    agreement: float = 0.0
    looks: int = 0


NEW = Standing()


def agreement(scores: np.ndarray, weights: np.ndarray) -> list[float]:
    """Of each event, its correlation with the weighted mean of the others, in tenths, so that a row can hold it.

    scores: (events, members) z-scores, zeros where all members tie; weights: (events,).
    """
    found = []
    for row, score in enumerate(scores):
        others = weights @ scores - weights[row] * score
        spread = float(score.std() * others.std())
        found.append(round(float((score * others).mean()) / spread, 1) if spread > 1e-9 else 0.0)
    return found


def after(known: Mapping[str, Standing], ids: Sequence[str], found: Sequence[float]) -> dict[str, Standing]:
    """What is known of each event after another look."""
    result = dict(known)
    look(result, ids, found)
    return result


def look(known: dict[str, Standing], ids: Sequence[str], found: Sequence[float]) -> None:
    """The same in place, for a replay of many looks."""
    for one, value in zip(ids, found, strict=True):
        before = known.pop(one, NEW)
        looks = before.looks + 1
        known[one] = Standing(before.agreement + (value - before.agreement) / min(looks, LONG), looks)
    forget(known)


def doubted(standing: Standing, solved: float) -> bool:
    """Whether an event has disagreed so far, and is not what the model says anyway. solved: share of its members."""
    return standing.agreement < 0 and solved < LEAST_SOLVED


def clipped(standings: Sequence[Standing], solved: Sequence[float], share: float) -> list[int]:
    """Of a batch, the places of the doubted events with the lowest agreement, at most `share` of the batch."""
    found = [place for place, pair in enumerate(zip(standings, solved, strict=True)) if doubted(*pair)]
    return sorted(sorted(found, key=lambda place: standings[place].agreement)[: int(share * len(standings))])
