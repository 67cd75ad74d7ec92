"""Where the search looks: the few linears that carry the fitness' sensitivity, found by members that each move one.

A population whose pairs perturb one linear each measures how much the fitness feels that linear: the mean squared
half-difference of its pairs is sigma^2 times the squared gradient in it, whatever its size. Where a new skill lives in
a few linears, as it often does, the rest would only add noise to every step, and forgetting.
"""

from collections.abc import Sequence

import numpy as np

from edge_es.evaluator import Ask, Evaluator
from edge_es.feedback import Event
from edge_es.fitness import combine
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, pack

SCOUTS = 4  # pairs that each linear is tried with
SCOUT_EVENTS = 8


def sensitivity(
    evaluator: Evaluator, delta: Delta, side: InputSide, ask: Ask, events: Sequence[Event]
) -> Slices[dict[str, float]]:
    """linear -> share of the fitness' squared sensitivity around `delta`; empty where the fitness feels nothing or
    is not finite. `ask` gives seed, step, sigma and the rest; its pairs and events are replaced."""
    names = list(side.slots)
    some = tuple(events[:SCOUT_EVENTS])
    scouting = Ask(
        version=ask.version,
        seed=ask.seed,
        step=ask.step,
        sigma=ask.sigma,
        pairs=range(SCOUTS * len(names)),
        events=some,
        centres=ask.centres,
        task_tokens=ask.task_tokens,
        apart=True,
        basis=pack(Delta((Part(side, None),))),
    )
    scores = yield from evaluator.scores(delta, scouting)
    members = combine(scores.raw, [event.kind for event in some], None, 0.0).members
    felt = ((members[::2] - members[1::2]) / 2) ** 2  # pair p moves linear p modulo their number
    each = felt.reshape(SCOUTS, len(names)).mean(0)
    total = float(each.sum())
    if not np.isfinite(total) or total <= 0:
        return {}
    return {name: float(one) / total for name, one in zip(names, each, strict=True)}


def chosen(shares: dict[str, float], share: float) -> list[str]:
    """The fewest linears that together have at least `share`, in the order in which they stand."""
    kept: set[str] = set()
    reached = 0.0
    for name in sorted(shares, key=lambda name: -shares[name]):
        if reached >= share:
            break
        kept.add(name)
        reached += shares[name]
    return [name for name in shares if name in kept]
