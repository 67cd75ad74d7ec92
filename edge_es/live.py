"""The live step: members that answered people, told by the ratings of their answers. No forward pass but the canary's.

A rating says one thing of one member on one prompt, so there is nothing to split in halves. What is known of its worth
is what the two signs of a pair say: a member moves the fitness one way and its mirror image the other, while their
prompts have nothing to do with each other. Minus the correlation of a pair's ratings is therefore the share of a
rating's variance that is the member's, as reliability is in a turn; pooled over the steps of one noise stream, those
that were refused included. By it a step is shortened (Kelley's formula, as `search.shrink` does in turns): ratings of
one answer each are so noisy that steps of full length are a random walk, which forgets [measured].
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_es import noise, strategy
from edge_es.config import GatesSection
from edge_es.errors import StateError
from edge_es.feedback import Event
from edge_es.fitness import FLOOR
from edge_es.guards import guard
from edge_es.learner import LEAST_SHRINKAGE, bound, canary, commit, look_around, reject
from edge_es.ledger import Journal, Row, now
from edge_es.slices import Slices
from edge_es.state import State, Surroundings, room_of


@dataclass(frozen=True)
class Ratings:
    """What a batch of ratings says of its members. members: (pair, sign) -> mean z-score over its metrics; those that
    were not rated are not there. means: metric -> raw mean. complete: pairs with both signs; reliability: as above,
    None under two of those."""

    members: Mapping[tuple[int, int], float]
    means: Mapping[str, float]
    complete: int
    reliability: float | None


def live_step(state: State, events: Sequence[Event], around: Surroundings) -> Slices[State]:
    """One attempt with rated members, all of one family in the state's basis (`feedback.Drawn`).

    Returns the state after it, as `learner.turn` does; the rows are like a turn's, and replay alike. Raises StateError
    for a member of another basis.
    """
    config, basis = around.config, state.delta.active.basis
    members = [event.member for event in events if event.member is not None]
    if len(members) < len(events) or {one.family for one in members} != {members[0].family}:
        raise StateError("a live step takes ratings of members of one family")
    if members[0].basis != basis.sha256:
        raise StateError(f"the members perturbed basis {members[0].basis}, version {state.version} has another")
    if config.gates.canary_kl is not None:
        state = yield from look_around(state, around)
    rated = ratings(events, config.feedback.weight)
    pairs, shaped = told(rated, config.search.shaping)
    row = Row(
        attempt=state.attempt + 1,
        version=None,
        parent=state.version,
        kind="step",
        created_at=now(),
        events=tuple(event.id for event in events),
        population=len(rated.members),
        seed=members[0].seed,
        step=members[0].step,
        generator=noise.GENERATOR,
        sigma=statistics.fmean(one.sigma for one in members).hex(),
        side=basis.sha256,
        pairs=tuple(pairs),
        stats=_stats(state, rated, shaped),
    )
    known = pooled(around.journal, row)
    # Without this a step would be as long as a turn's, and nearly all of it noise.
    shortened = around.step_scale * max(LEAST_SHRINKAGE, known[0] if known else 0.0)
    shortened *= bound(state.noise_kl, config.search)
    # A step divides by all members that it is given; only the rated ones are to count.
    alpha = config.search.alpha * shortened * len(shaped) / len(rated.members)
    row = replace(row, alpha=alpha.hex())
    reason = live_gate(shaped, known, config.gates)
    if reason:
        return reject(state, row, reason, around.journal)
    guarded = guard(state.delta, row.seed, row.step, shaped, alpha, config.guards, shortened, row.pairs)
    reason = yield from canary(state, guarded.candidate, room_of(state, around), around)
    if reason:
        return reject(state, row, reason, around.journal)
    return commit(state, row, shaped, guarded, around)


def ratings(events: Sequence[Event], weight: Callable[[str | None], float] = lambda source: 1.0) -> Ratings:
    """Per metric a z-score across the members that it rates, of which a spread below FLOOR is a tie, times the weight
    of the ratings' source; what weighs nothing says nothing."""
    by_metric: dict[str, dict[tuple[int, int], list[float]]] = {}
    weighs: dict[tuple[int, int], list[float]] = {}
    for event in events:
        assert event.member is not None and event.metric is not None and event.value is not None
        if not (own := weight(event.tags.get("source"))):
            continue
        at = (event.member.pair, event.member.sign)
        by_metric.setdefault(event.metric, {}).setdefault(at, []).append(event.value)
        weighs.setdefault(at, []).append(own)
    scores: dict[tuple[int, int], list[float]] = {}
    for values in by_metric.values():
        raw = {at: statistics.fmean(some) for at, some in values.items()}
        centre, spread = statistics.fmean(raw.values()), statistics.pstdev(raw.values())
        for at, value in raw.items():
            score = (value - centre) / spread if spread > FLOOR else 0.0
            scores.setdefault(at, []).append(score * statistics.fmean(weighs[at]))
    members = {at: statistics.fmean(some) for at, some in sorted(scores.items())}
    means = {
        metric: statistics.fmean(v for some in values.values() for v in some) for metric, values in by_metric.items()
    }
    both = [(members[pair, 1], members[pair, -1]) for pair, sign in members if sign > 0 and (pair, -1) in members]
    return Ratings(members, means, len(both), reliability(both, len(members)))


def reliability(both: Sequence[tuple[float, float]], rated: int) -> float | None:
    """Minus the intraclass correlation of complete pairs' z-scores; None under two pairs. rated: members whose mean the
    scores are centred on, by which two of them correlate by -1 / (rated - 1) even where they are nothing but noise:
    that counts as 0, and mirror images as 1."""
    energy = sum(plus**2 + minus**2 for plus, minus in both) / 2
    if len(both) < 2 or energy <= 0:
        return None
    chance = 1 / (rated - 1)
    return max(-1.0, (-sum(plus * minus for plus, minus in both) / energy - chance) / (1 - chance))


def told(rated: Ratings, shaping: str) -> tuple[list[int], list[float]]:
    """The pairs of which a member was rated, and the shaped fitness of their members, plus before minus; a member that
    was not rated weighs nothing."""
    values = strategy.SHAPING[shaping](list(rated.members.values()))
    shaped = dict(zip(rated.members, values, strict=True))
    pairs = sorted({pair for pair, _ in shaped})
    return pairs, [shaped.get((pair, sign), 0.0) for pair in pairs for sign in (1, -1)]


def pooled(journal: Journal, row: Row) -> tuple[float, int] | None:
    """(reliability, complete pairs) over all live steps of this one's noise in its basis, this one included; None where
    no pair was ever complete."""
    alike = [one for one in journal.rows() if (one.seed, one.step, one.side) == (row.seed, row.step, row.side)]
    found = [one.stats["live"] for one in (*alike, row) if one.stats["live"]["reliability"] is not None]
    pairs = sum(one["pairs"] for one in found)
    return (sum(one["reliability"] * one["pairs"] for one in found) / pairs, pairs) if pairs else None


def live_gate(shaped: Sequence[float], known: tuple[float, int] | None, section: GatesSection) -> str | None:
    """The reason why these ratings carry no signal, or None. A pair ties where both of its members are told the same.
    known: as `pooled` has it."""
    weights = [shaped[i] - shaped[i + 1] for i in range(0, len(shaped), 2)]
    ties = sum(abs(weight) <= FLOOR for weight in weights) / len(weights)
    if ties == 1 or ties > section.max_tie_rate:
        return f"ratings tie on {ties:.0%} of the pairs (limit {section.max_tie_rate:.0%})"
    if known is not None and known[0] < section.min_reliability:
        return (
            f"reliability of the ratings is {known[0]:.2f} over {known[1]} pairs, under {section.min_reliability:.2f}"
        )
    return None


def _stats(state: State, rated: Ratings, shaped: Sequence[float]) -> dict[str, Any]:
    tied = sum(abs(shaped[i] - shaped[i + 1]) <= FLOOR for i in range(0, len(shaped), 2))
    return {
        "fitness_mean": {"rating": statistics.fmean(rated.means.values())},
        "fitness_reliability": None,  # the turns' running mean is of another measure
        "tie_rate": 2 * tied / len(shaped),
        "kl": None,
        "novelty_share": state.novelty,
        "live": {"members": len(rated.members), "pairs": rated.complete, "reliability": rated.reliability},
    }
