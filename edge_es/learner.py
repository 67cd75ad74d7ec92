"""One learning turn: batch -> input side -> ask -> evaluate -> signal gate -> tell and guard -> canary gate -> commit.

A turn is a generator: it yields where requests may go in between, changes nothing until its row is durable in the
journal (mutate-last), and returns the new state. An interrupted turn leaves no trace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from edge_es import batch, consensus, noise, renewal, strategy
from edge_es.config import Config, SearchSection
from edge_es.feedback import Event
from edge_es.fitness import Fitness, combine, joined, texts_of, zscores
from edge_es.gates import canary_gate, signal_gate
from edge_es.guards import Guarded, guard
from edge_es.ledger import Journal, Row, now
from edge_es.likelihood import Text, kl
from edge_es.memory import Plan
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta
from edge_es.spaces.input_side import nearest
from edge_es.state import State, Surroundings, asking, evaluator_of, room_of

T = TypeVar("T")  # an event, or its id

LEAST_SHRINKAGE = 0.05
NEAR_TEXTS = 64  # protected texts that the canary watches
LOOK = 10  # attempts after which it is looked anew which they are
NEAR_AT_ONCE = 8  # of those, how many the KL in the fitness watches in one step
NEAR_ALWAYS = 2  # of these, how many it watches in every step


def turn(state: State, events: Sequence[Event], fresh: bool, around: Surroundings) -> Slices[State]:
    """One attempt on a batch of events. `fresh`: some of them have not been learned from before.

    Returns the state after it; a rejected attempt keeps the delta and the version. Raises StateError where the
    memory budget cannot hold a single pair.
    """
    config = around.config
    weights, clipped = weighed(state, events, config)
    # What counts for nothing has no say in where the search looks, either.
    counted = [event for event in events if weights[event.id].counts] or list(events)
    texts = [text for event in counted for text in texts_of(around.base, event)]
    cause = yield from renewal.due(state, texts, fresh, around)
    if cause:
        state = yield from renewal.renew(state, texts, counted, around, cause)
    close = _close(state, config)
    if close or config.gates.canary_kl is not None:
        state = yield from look_around(state, around)
    step = state.attempt + 1
    population = strategy.ask(state.delta, config.search.seed, step, config.search.population, config.search.sigma)
    evaluator = evaluator_of(around)
    near = watched(state.near or (), step) if close and config.learn.kl_weight else ()
    parts: list[Fitness] = []
    looked: dict[str, float | None] = {}
    agreed: dict[str, float] = {}
    came: list[int] = []  # pairs that were scored: a machine elsewhere may have failed
    passes = halved = 0
    for group, (pairs, own) in enumerate(groups := shares(population.pairs, events, config.learn.groups)):
        # A group's members meet their own part of the protected texts, too, where there are enough.
        texts_near = near[group :: len(groups)] if len(near) >= len(groups) else near
        ask = replace(asking(state, around, step), pairs=pairs, events=tuple(own), near=texts_near)
        scores = yield from evaluator.scores(state.delta, ask)
        came += pairs if scores.pairs is None else scores.pairs
        kinds, mine = [event.kind for event in own], [event.id for event in own]
        parts.append(
            combine(scores.raw, kinds, scores.drift, config.learn.kl_weight, [weights[one].counts for one in mine])
        )
        told = consensus.agreement(zscores(scores.raw), np.array([weights[one].speaks for one in mine]))
        looked.update(zip(mine, scores.solved, strict=True))
        agreed.update(zip(mine, told, strict=True))
        passes, halved = passes + scores.passes, halved + scores.halved
    fitness = joined(parts)
    ids = [event.id for event in events]
    state = replace(
        state,
        evidence=state.evidence.after(fitness.reliability, len(events)),
        solved=batch.after(state.solved, ids, [looked[one] for one in ids]),
        standing=consensus.after(state.standing, ids, [agreed[one] for one in ids]),
    )
    reach = batch.reach(state.solved) if config.search.anneal else 1.0
    trust = state.evidence.trust(config.gates.min_reliability)
    shortened = around.step_scale * _shrinkage(state, config) * trust * reach * bound(state.noise_kl, config.search)
    alpha = config.search.alpha * shortened
    row = Row(
        attempt=step,
        version=None,
        parent=state.version,
        kind="step",
        created_at=now(),
        events=tuple(ids),
        population=population.size,
        seed=population.seed,
        step=step,
        generator=noise.GENERATOR,
        alpha=alpha.hex(),
        sigma=population.sigma.hex(),
        side=population.basis.sha256,
        pairs=tuple(came) if len(came) < population.pairs else (),
        stats={
            **_stats(state, fitness),
            "solved": [looked[one] for one in ids],
            "agreement": [round(10 * agreed[one]) for one in ids],  # in tenths
            "clipped": clipped,  # places in `events`
            "population_batches": passes,
            "batches_halved": halved,
        },
    )
    reason = signal_gate(fitness, state.evidence, config.gates)
    if reason:
        return reject(state, row, reason, around.journal)
    shaped = strategy.SHAPING[config.search.shaping]([float(f) for f in fitness.members])
    guarded = guard(state.delta, population.seed, step, shaped, alpha, config.guards, shortened, row.pairs)
    reason = yield from canary(state, guarded.candidate, room_of(state, around), around)
    if reason:
        return reject(state, row, reason, around.journal)
    return commit(state, row, shaped, guarded, around)


def commit(state: State, row: Row, shaped: Sequence[float], guarded: Guarded, around: Surroundings) -> State:
    """The state after a step that passed all gates; its row, so far as known in `row`, is durable when this returns."""
    candidate = guarded.candidate
    walk, norm = state.walk + guarded.step_norm**2, candidate.norm()
    row = replace(
        row,
        version=state.version + 1,
        shaped=tuple(value.hex() for value in shaped),
        guards={name: value.hex() for name, value in guarded.scalars.items()},
        sha256=candidate.sha256,
        stats={
            **row.stats,
            "step_norm": guarded.step_norm,
            "delta_norm": norm,
            "walk_ratio": norm / math.sqrt(walk) if walk > 0 else None,
            "sparsity": candidate.sparsity(),
        },
    )
    around.journal.append(row, {})
    return replace(
        state, version=state.version + 1, delta=candidate, attempt=row.attempt, walk=walk, aged=state.aged + 1
    )


@dataclass(frozen=True)
class Weight:
    """Of an event in a step: in the fitness, and in the consensus that others are measured by."""

    counts: float
    speaks: float


def weighed(state: State, events: Sequence[Event], config: Config) -> tuple[dict[str, Weight], list[int]]:
    """Event -> its weights, by its source and by what is known of it; and the places of those that are clipped."""
    known = [state.known(event.id) for event in events]
    clipped = consensus.clipped([one for one, _ in known], [solved for _, solved in known], config.feedback.clip)
    found = {}
    for place, (event, pair) in enumerate(zip(events, known, strict=True)):
        own = config.feedback.weight(event.tags.get("source"))
        speaks = own * (consensus.DOUBTED if consensus.doubted(*pair) else 1.0)
        found[event.id] = Weight(0.0 if place in clipped else own, speaks)
    return found, clipped


def shares(pairs: int, events: Sequence[T], groups: int) -> list[tuple[range, Sequence[T]]]:
    """The population in parts with the events that each is scored on: every pair and every event in exactly one, two
    of each at least, so that a part's fitness can be split in halves. Members of a part meet the same items; more items
    are met for the same evaluations."""
    groups = max(1, min(groups, len(events) // 2, pairs // 2))
    return [(range(pairs * g // groups, pairs * (g + 1) // groups), events[g::groups]) for g in range(groups)]


def watched(near: Sequence[int], step: int) -> tuple[int, ...]:
    """Those of the protected texts that this step's fitness counts, NEAR_AT_ONCE: the first ones, which drifted most,
    in every step, since most of the drift is in a few; the others going round."""
    first, rest = near[:NEAR_ALWAYS], near[NEAR_ALWAYS:]
    count = min(NEAR_AT_ONCE - NEAR_ALWAYS, len(rest))
    return (*first, *(rest[(step * count + i) % len(rest)] for i in range(count)))


def _shrinkage(state: State, config: Config) -> float:
    """Kelley's formula (1927): the best estimate of a true score is the observed one, drawn to the mean by the
    measure's reliability. Steps along noise are what makes the delta walk and forget; they become short."""
    if not config.search.shrink:
        return 1.0
    return max(LEAST_SHRINKAGE, state.evidence.mean)


def bound(noise_kl: float | None, search: SearchSection) -> float:
    """Factor on the step size by which a step of nothing but noise costs the protected texts no more than `step_kl`.

    KL grows with the square of a small change (it has no gradient at the anchor). A member's noise of sigma costs
    `noise_kl`; a step of a population has alpha * sqrt(2 / population) in the place of sigma, since fitness is
    z-scored and the members of a pair differ by their sign. (By ranks a step is shorter, and the bound too strict.)
    What a walk of such steps costs is proportional to their number, so this bounds how fast an unguarded walk forgets,
    on a model whose weights are of any scale.
    """
    if noise_kl is None or noise_kl <= 0 or search.step_kl is None:
        return 1.0
    cost = 2 * (search.alpha / search.sigma) ** 2 / search.population * noise_kl
    return min(1.0, math.sqrt(search.step_kl / cost))


def _stats(state: State, fitness: Fitness) -> dict[str, Any]:
    return {
        "fitness_mean": {kind: renewal.finite(mean) for kind, mean in fitness.means.items()},
        "fitness_reliability": fitness.reliability,
        "tie_rate": fitness.tie_rate,
        "kl": renewal.finite(fitness.kl),
        "novelty_share": state.novelty,
    }


def reject(state: State, row: Row, reason: str, journal: Journal) -> State:
    """The state after an attempt that a gate refused: its row is kept, and makes no version."""
    journal.append(replace(row, reason=reason), {})
    return replace(state, attempt=row.attempt)


def canary(state: State, candidate: Delta, room: Plan, around: Surroundings) -> Slices[str | None]:
    """The reason why the canary gate refuses this candidate, or None. `look_around` comes first."""
    texts = near_texts(state, around)
    if around.config.gates.canary_kl is None or not texts:
        return None
    each = yield from kl(around.base, candidate, texts, room.tokens(around.base, texts, distributions=2))
    return canary_gate(float(each.mean()), around.config.gates)


def _close(state: State, config: Config) -> bool:
    """Whether what is taught and what is protected are so close that the KL joins the fitness."""
    if state.delta.active.basis.kind != "adapter" or state.novelty is None:
        return config.learn.kl_below > 0  # no null space holds them apart
    return state.novelty < config.learn.kl_below


def look_around(state: State, around: Surroundings) -> Slices[State]:
    """Finds the protected texts to watch: those that the active input side reads most, and once steps were taken, those
    that drifted most from the anchor; some from all over where the space has no input side. Every LOOK attempts."""
    if not around.protected or (state.near is not None and state.attempt - state.looked < LOOK):
        return state
    side, room = state.delta.active.basis, room_of(state, around)
    if state.near is None and not isinstance(side, InputSide):
        count = len(around.protected)
        near = tuple(range(0, count, max(1, -(-count // NEAR_TEXTS))))
    elif state.near is None and isinstance(side, InputSide):
        near = yield from nearest(around.base, side, around.protected, NEAR_TEXTS, room)
    else:
        texts = around.protected
        each = yield from kl(around.base, state.delta, texts, room.tokens(around.base, texts, distributions=2))
        near = tuple(each.argsort(descending=True, stable=True)[:NEAR_TEXTS].tolist())
    return replace(state, near=near, looked=state.attempt)


def near_texts(state: State, around: Surroundings) -> list[Text]:
    """The protected texts that the canary watches."""
    return [around.protected[i] for i in state.near or ()]
