"""Renewal of the basis: what the search may move, made anew when feedback or configuration asks for another."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal

from edge_es.config import Config
from edge_es.feedback import Event
from edge_es.fitness import texts_of
from edge_es.focus import chosen, joined, noise_drift, scouted
from edge_es.learned import learned
from edge_es.ledger import Kind, Row, now
from edge_es.likelihood import Text
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide, rank
from edge_es.spaces.consolidate import consolidate
from edge_es.spaces.delta import Delta, Part, pack
from edge_es.spaces.input_side import captured_share
from edge_es.spaces.make import make_basis
from edge_es.state import State, Surroundings, asking, evaluator_of, room_of, solved_so_far

Cause = Literal["none", "configuration", "inputs", "age"]
STALE = 0.5  # an input side that captures less than this share of what it did when made is joined by a new one


def due(state: State, texts: Sequence[Text], fresh: bool, around: Surroundings) -> Slices[Cause | None]:
    """none: no basis yet. configuration: one made under another. inputs: one that misses what this feedback excites.
    age: one that was searched for long: what it can do for what is not solved yet, it has done."""
    if not state.delta.parts:
        return "none"
    if state.protection != _protection(around.config, around):
        return "configuration"
    side = state.delta.active.basis
    if not isinstance(side, InputSide):
        return None
    if fresh and state.captured is not None:
        share = yield from captured_share(around.base, state.delta, side, texts, room_of(state, around))
        if share < STALE * state.captured:
            return "inputs"
    return "age" if 0 < around.config.search.renew <= state.aged else None


def renew(
    state: State, texts: Sequence[Text], events: Sequence[Event], around: Surroundings, cause: Cause = "none"
) -> Slices[State]:
    """Commits a new basis for this feedback; over the rank budget, an adapter's earlier parts are merged first.

    All that takes time comes before the first row, so that an interruption leaves no trace. Raises StateError where the
    state was learned in another search space.
    """
    search = around.config.search
    if state.delta.parts:
        state.delta.same_space(search.space)
    delta, merged = state.delta, ""
    more = search.rank * (2 if search.tokens == "both" else 1)
    if search.space == "adapter" and delta.parts and rank(delta) + more > search.max_rank:
        delta, loss = consolidate(delta, max(1, search.max_rank - more))
        merged = f"{len(state.delta.parts)} parts merged, {loss:.2%} of the delta's norm lost"
    room = room_of(state, around)
    learned_by = state.attempt if cause == "inputs" else state.learned_by
    spared = [*around.protected, *_learned(state, learned_by, around)]
    made = yield from make_basis(around.base, delta, around.config, texts, spared, room)
    stats: dict[str, Any] = {}
    basis, captured, noise_kl = made.basis, None, None
    if isinstance(basis, InputSide):
        ask, evaluator, watched = asking(state, around, state.attempt + 1), evaluator_of(around), len(around.protected)
        sides = {key: side for key, side in made.candidates.items() if isinstance(side, InputSide)}
        if search.focus and len(basis.a) > 1:
            felt = yield from scouted(evaluator, delta, sides, ask, events, watched)
            stats["scouted"] = {" ".join(block): [finite(one.gain), finite(one.drift)] for block, one in felt.items()}
            if kept := chosen(felt):
                basis = joined(sides, kept)
        noise_kl = yield from noise_drift(evaluator, delta, basis, ask, watched)
        captured = yield from captured_share(around.base, delta, basis, texts, room)
    if merged:
        state = _publish(state, "consolidate", delta, pack(delta), {"loss": loss}, merged, around)
    blob = pack(Delta((Part(basis, None),)))
    stats |= {"novelty_share": made.novelty_share, "captured": captured, "noise_kl": noise_kl}
    stats |= {"learned_by": learned_by, "spared": len(spared)}
    reason = _protection(around.config, around)
    state = _publish(state, "basis", delta.with_basis(basis), blob, stats, reason, around)
    return replace(
        state,
        captured=captured,
        novelty=made.novelty_share,
        noise_kl=noise_kl,
        protection=reason,
        near=None,
        aged=0,
        learned_by=learned_by,
    )


def _learned(state: State, by: int | None, around: Surroundings) -> list[Text]:
    """The inputs of what was learned by that attempt, since the newest rollback."""
    most = around.config.guards.protect.learned
    if by is None or most == 0:
        return []
    if by == state.attempt:
        solved = state.solved
    else:
        solved = solved_so_far([row for row in around.journal.rows() if row.attempt <= by])
    return [text for event in around.recall(learned(solved, most)) for text in texts_of(around.base, event)]


def finite(value: float | None) -> float | None:
    """JSON has no NaN: what is not finite is recorded as unknown."""
    return value if value is not None and math.isfinite(value) else None


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


def _protection(config: Config, around: Surroundings) -> str:
    """What a basis is made under; recorded as the reason of its row."""
    search, mask = config.search, config.guards.mask
    layers = around.base.targets(search.target_modules)
    where = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in layers))
    masked = "" if mask.kind == "none" else f"; {mask.density:g} of them by a mask of kind {mask.kind}"
    if search.space != "adapter":
        return f"{search.space} of {where}{masked}"
    energy = config.guards.protect.energy if around.protected else 0.0
    focus = ", the best of them" if search.focus else ""
    read = "" if search.tokens == "all" else f" by {search.tokens} tokens"
    removed = f"{energy:g} of the protected energy removed"
    if energy and config.guards.protect.inputs != "auto":  # a file's content may change where its name does not
        removed += f", inputs {_digest(tuple(around.protected))}"
    return f"rank {search.rank}{read} in {where}{focus}{masked}; {removed}"


@lru_cache(maxsize=1)
def _digest(texts: tuple[Text, ...]) -> str:
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:12]
