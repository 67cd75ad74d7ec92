"""One learning turn: batch -> input side -> ask -> evaluate -> signal gate -> tell and guard -> canary gate -> commit.

A turn is a generator: it yields where requests may go in between, changes nothing until its row is durable in the
journal (mutate-last), and returns the new state. An interrupted turn leaves no trace.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from edge_es import batch, noise, strategy
from edge_es.config import Config
from edge_es.evaluator import Ask, Evaluator, InProcess
from edge_es.feedback import Event
from edge_es.fitness import Fitness, combine, joined, texts_of
from edge_es.focus import chosen, sensitivity
from edge_es.gates import canary_gate, signal_gate
from edge_es.guards import guard
from edge_es.ledger import Journal, Kind, Row, head, now, published, rebuild
from edge_es.likelihood import Text, kl
from edge_es.memory import Plan, plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide, rank
from edge_es.spaces.consolidate import consolidate
from edge_es.spaces.delta import Delta, Part, pack
from edge_es.spaces.input_side import captured_share, nearest
from edge_es.spaces.make import make_basis

STALE = 0.5  # an input side that captures less than this share of what it did when made is joined by a new one
RECENT = 0.2  # weight of the newest step in the running reliability
LEAST_SHRINKAGE = 0.05
PRIOR = 0.5  # the reliability that is taken before any was measured
NEAR_TEXTS = 8  # protected texts that the canary and the KL in the fitness watch


@dataclass(frozen=True)
class State:
    """Where learning stands: derived from the journal alone (`resume`), replaced by every turn.

    attempt: number of the newest attempt. walk: summed squares of the step norms behind the delta. captured: what the
    active input side captured of the feedback it was made for. novelty: novelty share then; None: nothing protected.
    reliability: running mean of the fitness' split-half reliability since the newest side or rollback.
    near: which of the protected texts that side reads most, from the side and the texts alone; None: not sought yet.
    solved: event -> share of members that solved it when they last met it, since the newest rollback.
    protection: what the active input side was made under, so that a changed configuration makes a new one.
    """

    version: int
    delta: Delta
    attempt: int
    walk: float = 0.0
    captured: float | None = None
    novelty: float | None = None
    protection: str | None = None
    reliability: float | None = None
    near: tuple[int, ...] | None = None
    solved: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What a turn reads besides its batch.

    protected: texts whose input directions are removed; those still read most are the canary's and the drift's too.
    centres: running mean of each metric's ratings. step_scale: 1, halved by every rollback.
    """

    base: Base
    config: Config
    journal: Journal
    protected: Sequence[Text]
    centres: Mapping[str, float]
    step_scale: float = 1.0
    evaluator: Evaluator | None = None


def resume(journal: Journal, device: torch.device) -> State:
    """The state after the newest row of the journal. Raises StateError where it does not replay."""
    rows = journal.rows()
    newest = head(rows)
    assert newest.version is not None
    delta = rebuild(journal, newest.version).to(device)
    state = State(newest.version, delta, rows[-1].attempt)
    state = replace(state, reliability=_reliability_so_far(rows), solved=_solved_so_far(rows))
    versions = published(rows)
    # Walk back along the deltas: a rollback continues at its target.
    at: int | None = newest.version
    while at is not None:
        row = versions[at]
        if row.kind == "step":
            state = replace(state, walk=state.walk + (row.stats.get("step_norm") or 0.0) ** 2)
        if row.kind == "basis" and state.protection is None:
            state = replace(
                state,
                captured=row.stats.get("captured"),
                novelty=row.stats.get("novelty_share"),
                protection=row.reason,
            )
        at = row.target if row.kind == "rollback" else row.parent
    return state


def turn(state: State, events: Sequence[Event], fresh: bool, around: Surroundings) -> Slices[State]:
    """One attempt on a batch of events. `fresh`: some of them have not been learned from before.

    Returns the state after it; a rejected attempt keeps the delta and the version. Raises StateError where the
    memory budget cannot hold a single pair.
    """
    texts = [text for event in events for text in texts_of(around.base, event)]
    if (yield from _needs_side(state, texts, fresh, around)):
        state = yield from _add_side(state, texts, events, around)
    config = around.config
    close = _close(state, config)
    if close or config.gates.canary_kl is not None:
        state = yield from _look_around(state, around)
    step = state.attempt + 1
    population = strategy.ask(state.delta, config.search.seed, step, config.search.population, config.search.sigma)
    evaluator = _evaluator(around)
    near = (state.near or ()) if close and config.learn.kl_weight else ()
    parts: list[Fitness] = []
    looked: dict[str, float | None] = {}
    passes = halved = 0
    for group, (pairs, own) in enumerate(groups := shares(population.pairs, events, config.learn.groups)):
        # A group's members meet their own part of the protected texts, too, where there are enough.
        texts_near = near[group :: len(groups)] if len(near) >= len(groups) else near
        ask = replace(_ask(state, around, step), pairs=pairs, events=tuple(own), near=texts_near)
        scores = yield from evaluator.scores(state.delta, ask)
        parts.append(combine(scores.raw, [event.kind for event in own], scores.drift, config.learn.kl_weight))
        looked.update((event.id, share) for event, share in zip(own, scores.solved, strict=True))
        passes, halved = passes + scores.passes, halved + scores.halved
    fitness = joined(parts)
    ids = [event.id for event in events]
    state = replace(
        state,
        reliability=running_reliability(state.reliability, fitness.reliability),
        solved=batch.after(state.solved, ids, [looked[one] for one in ids]),
    )
    reach = batch.reach(state.solved) if config.search.anneal else 1.0
    alpha = config.search.alpha * around.step_scale * _shrinkage(state, config) * reach
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
        stats={
            **_stats(state, fitness),
            "solved": [looked[one] for one in ids],
            "population_batches": passes,
            "batches_halved": halved,
        },
    )
    reason = signal_gate(fitness, state.reliability, config.gates)
    if reason:
        return _reject(state, row, reason, around.journal)
    shaped = strategy.SHAPING[config.search.shaping]([float(f) for f in fitness.members])
    guarded = guard(state.delta, population.seed, step, shaped, alpha, config.guards, reach)
    candidate = guarded.candidate
    reason = yield from _canary(state, candidate, _room(state, around), around)
    if reason:
        return _reject(state, row, reason, around.journal)

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
    return replace(state, version=state.version + 1, delta=candidate, attempt=step, walk=walk)


def shares(pairs: int, events: Sequence[Event], groups: int) -> list[tuple[range, Sequence[Event]]]:
    """The population in parts with the events that each is scored on: every pair and every event in exactly one, two
    pairs and one event at least. Members of a part meet the same items; more items are met for the same evaluations."""
    groups = max(1, min(groups, len(events), pairs // 2))
    return [(range(pairs * g // groups, pairs * (g + 1) // groups), events[g::groups]) for g in range(groups)]


def running_reliability(before: float | None, new: float | None) -> float | None:
    """The exponentially weighted mean that a step is shrunk by. A single split of a batch says little by itself, so
    the first counts against PRIOR."""
    if new is None:
        return before
    return (1 - RECENT) * (PRIOR if before is None else before) + RECENT * new


def _evaluator(around: Surroundings) -> Evaluator:
    budget = around.config.learn.memory_budget
    return around.evaluator or InProcess(around.base, around.protected, budget)


def _ask(state: State, around: Surroundings, step: int) -> Ask:
    """What is asked of every group of members; pairs and events are each group's own."""
    search = around.config.search
    return Ask(
        version=state.version,
        seed=search.seed,
        step=step,
        sigma=search.sigma,
        pairs=range(0),
        events=(),
        centres=around.centres,
        task_tokens=around.config.learn.task_tokens,
    )


def _solved_so_far(rows: Sequence[Row]) -> dict[str, float]:
    """As the turns knew it, from what the journal kept of them."""
    solved: dict[str, float] = {}
    for row in rows:
        if row.kind == "rollback":
            solved = {}
        elif row.kind == "step" and "solved" in row.stats:
            solved = batch.after(solved, row.events, row.stats["solved"])
    return solved


def _reliability_so_far(rows: Sequence[Row]) -> float | None:
    """As the turns made it, from what the journal kept of them."""
    mean: float | None = None
    for row in rows:
        if row.kind in ("basis", "rollback"):
            mean = None
        elif row.kind == "step":
            mean = running_reliability(mean, row.stats.get("fitness_reliability"))
    return mean


def _shrinkage(state: State, config: Config) -> float:
    """Kelley's formula (1927): the best estimate of a true score is the observed one, drawn to the mean by the
    measure's reliability. Steps along noise are what makes the delta walk and forget; they become short."""
    if not config.search.shrink:
        return 1.0
    return max(LEAST_SHRINKAGE, PRIOR if state.reliability is None else state.reliability)


def _stats(state: State, fitness: Fitness) -> dict[str, Any]:
    return {
        "fitness_mean": {kind: _finite(mean) for kind, mean in fitness.means.items()},
        "fitness_reliability": fitness.reliability,
        "tie_rate": fitness.tie_rate,
        "kl": _finite(fitness.kl),
        "novelty_share": state.novelty,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: what is not finite is recorded as unknown, and the gate says why it was rejected."""
    return value if value is not None and math.isfinite(value) else None


def _reject(state: State, row: Row, reason: str, journal: Journal) -> State:
    journal.append(replace(row, reason=reason), {})
    return replace(state, attempt=row.attempt)


def _room(state: State, around: Surroundings) -> Plan:
    return plan(around.base, state.delta, around.config.learn.memory_budget, 0)


def _canary(state: State, candidate: Delta, room: Plan, around: Surroundings) -> Slices[str | None]:
    texts = _near(state, around)
    if around.config.gates.canary_kl is None or not texts:
        return None
    each = yield from kl(around.base, candidate, texts, room.tokens(around.base, texts, distributions=2))
    return canary_gate(float(each.mean()), around.config.gates)


def _close(state: State, config: Config) -> bool:
    """Whether what is taught and what is protected are so close that the KL joins the fitness."""
    if state.delta.active.basis.kind != "adapter":
        return config.learn.kl_below > 0  # no other space has a null space that could hold them apart
    return state.novelty is not None and state.novelty < config.learn.kl_below


def _look_around(state: State, around: Surroundings) -> Slices[State]:
    """Finds the protected texts to watch: those that the active input side reads most, or some from all over."""
    if state.near is not None or not around.protected:
        return state
    side = state.delta.active.basis
    if not isinstance(side, InputSide):
        count = len(around.protected)
        spread = range(0, count, max(1, count // NEAR_TEXTS))
        return replace(state, near=tuple(spread)[:NEAR_TEXTS])
    near = yield from nearest(around.base, side, around.protected, NEAR_TEXTS, _room(state, around))
    return replace(state, near=near)


def _near(state: State, around: Surroundings) -> list[Text]:
    return [around.protected[i] for i in state.near or ()]


def _protection(config: Config, around: Surroundings) -> str:
    """What a basis is made under; recorded as the reason of its row."""
    search, mask = config.search, config.guards.mask
    layers = around.base.targets(search.target_modules)
    where = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in layers))
    masked = "" if mask.kind == "none" else f"; {mask.density:g} of them by a mask of kind {mask.kind}"
    if search.space != "adapter":
        return f"{search.space} of {where}{masked}"
    energy = config.guards.protect.energy if around.protected else 0.0
    focus = f", those with {search.focus:g} of the sensitivity" if search.focus < 1 else ""
    return f"rank {search.rank} in {where}{focus}{masked}; {energy:g} of the protected energy removed"


def _needs_side(state: State, texts: Sequence[Text], fresh: bool, around: Surroundings) -> Slices[bool]:
    """No input side yet, one made under another configuration, or one that misses what this feedback excites."""
    if not state.delta.parts or state.protection != _protection(around.config, around):
        return True
    side = state.delta.active.basis
    if not fresh or state.captured is None or not isinstance(side, InputSide):
        return False
    share = yield from captured_share(around.base, state.delta, side, texts, _room(state, around))
    return share < STALE * state.captured


def _add_side(state: State, texts: Sequence[Text], events: Sequence[Event], around: Surroundings) -> Slices[State]:
    """Commits a new basis for this feedback; over the rank budget, an adapter's earlier parts are merged first."""
    search = around.config.search
    if search.space == "adapter" and state.delta.parts and rank(state.delta) + search.rank > search.max_rank:
        state = _merge_parts(state, search.max_rank - search.rank, around)
    room = _room(state, around)
    made = yield from make_basis(around.base, state.delta, around.config, texts, around.protected, room)
    stats: dict[str, Any] = {}
    if isinstance(made.basis, InputSide) and search.focus < 1 and len(made.basis.a) > 1:
        ask = _ask(state, around, state.attempt + 1)
        stats["sensitivity"] = yield from sensitivity(_evaluator(around), state.delta, made.basis, ask, events)
        if kept := chosen(stats["sensitivity"], search.focus):
            side = made.basis.only(kept)
            captured = yield from captured_share(around.base, state.delta, side, texts, room)
            made = replace(made, basis=side, captured=captured)
    blob = pack(Delta((Part(made.basis, None),)))
    stats |= {"novelty_share": made.novelty_share, "captured": made.captured}
    reason = _protection(around.config, around)
    state = _publish(state, "basis", state.delta.with_basis(made.basis), blob, stats, reason, around)
    return replace(
        state, captured=made.captured, novelty=made.novelty_share, protection=reason, reliability=None, near=None
    )


def _merge_parts(state: State, budget: int, around: Surroundings) -> State:
    merged, loss = consolidate(state.delta, max(1, budget))
    reason = f"{len(state.delta.parts)} parts merged, {loss:.2%} of the delta's norm lost"
    return _publish(state, "consolidate", merged, pack(merged), {"loss": loss}, reason, around)


def _publish(
    state: State,
    kind: Kind,
    delta: Delta,
    blob: bytes,
    stats: Mapping[str, Any],
    reason: str,
    around: Surroundings,
) -> State:
    """Commits a row that is a stored blob rather than a step."""
    norm = delta.norm()
    name = hashlib.sha256(blob).hexdigest()
    row = Row(
        attempt=state.attempt + 1,
        version=state.version + 1,
        parent=state.version,
        kind=kind,
        created_at=now(),
        side=name,
        sha256=delta.sha256,
        stats={**stats, "delta_norm": norm, "sparsity": delta.sparsity()},
        reason=reason,
    )
    around.journal.append(row, {name: blob})
    return replace(state, version=state.version + 1, delta=delta, attempt=state.attempt + 1)
