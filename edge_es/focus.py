"""Where the search looks: the part of the model that teaches most for the harm it does, found by trying each.

A block is a linear in one of the candidate input sides. A population whose pairs perturb one block each measures how
much the fitness feels it: the mean squared half-difference of its pairs is sigma^2 times the squared gradient in it,
whatever its size. The same members' mean KL to the anchor on protected texts is what the block's noise does to prior
abilities.

Of inputs that are new, the fewest blocks are kept that have most of the gain, whatever their layer: such directions
do little harm. Where an answer is to differ, prior abilities read the same directions; there that set of one layer's
blocks is kept which has the most (sum of gains)^2 / (sum of drifts): what a step gains for its harm, times what there
is to gain. Within one layer, since single blocks scatter too much to be ranked after a few pairs. Other blocks would
only add noise to every step, and forgetting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from edge_es.evaluator import Ask, Evaluator
from edge_es.feedback import Event
from edge_es.fitness import combine
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, pack
from edge_es.spaces.input_side import orthonormal

SCOUTS = 8  # pairs that each block is tried with
SCOUT_EVENTS = 16
MOST = 0.8  # share of the gain of new inputs that is kept: the last fifth is spread thinly, as noise and harm are
SCOUT_TEXTS = 16  # protected ones
LEAST_DRIFT = 1e-7  # nats a token: what rounding makes of none

Block = tuple[str, str]  # (candidate, linear)


@dataclass(frozen=True)
class Felt:
    """What the members of a block or of several showed. gain: mean squared half-difference of the fitness; drift: mean
    KL to the anchor on protected texts, nats a token, None where there are none."""

    gain: float
    drift: float | None

    @property
    def harm(self) -> float:
        """Without protected texts every block is as harmful as another."""
        return LEAST_DRIFT + (0.0 if self.drift is None else self.drift)


def scouted(
    evaluator: Evaluator,
    delta: Delta,
    sides: Mapping[str, InputSide],
    ask: Ask,
    events: Sequence[Event],
    protected: int,
) -> Slices[dict[Block, Felt]]:
    """Every block of the candidates around `delta`. `ask` gives seed, step, sigma and the rest; its pairs and events
    are replaced. protected: how many protected texts there are, from all over which some are watched. NaN where the
    fitness is not finite."""
    some = tuple(events[:SCOUT_EVENTS])
    near = _spread(protected)
    before = yield from _drifted(evaluator, delta, ask, near)
    raw: list[np.ndarray] = []
    drifts: list[np.ndarray] = []
    blocks: list[Block] = []
    for candidate, side in sides.items():
        scouting = replace(
            ask,
            pairs=range(SCOUTS * len(side.slots)),
            events=some,
            near=near,
            apart=True,
            basis=pack(Delta((Part(side, None),))),
        )
        scores = yield from evaluator.scores(delta, scouting)
        # Pair p moves linear p modulo their number: the members of one linear are made neighbours.
        order = np.arange(2 * len(scouting.pairs)).reshape(SCOUTS, len(side.slots), 2).swapaxes(0, 1).ravel()
        raw.append(scores.raw[:, order])
        if scores.drift is not None:
            drifts.append(scores.drift[order])
        blocks += [(candidate, name) for name in side.slots]
    members = combine(np.concatenate(raw, axis=1), [event.kind for event in some], None, 0.0).members
    gains = (((members[::2] - members[1::2]) / 2) ** 2).reshape(-1, SCOUTS).mean(1)
    harms = np.concatenate(drifts).reshape(-1, 2 * SCOUTS).mean(1) if drifts else [None] * len(blocks)
    return {
        # Of the noise alone: what was learned before drifts under every block. Rounding may take it below 0.
        block: Felt(float(gain), None if harm is None else max(0.0, float(harm) - before))
        for block, gain, harm in zip(blocks, gains, harms, strict=True)
    }


def noise_drift(evaluator: Evaluator, delta: Delta, side: InputSide, ask: Ask, protected: int) -> Slices[float | None]:
    """What a member's noise in the whole of `side` adds to the KL on protected texts, nats a token, by SCOUTS pairs
    around `delta`; None where nothing is protected. `ask` as in `scouted`."""
    if not protected:
        return None
    near = _spread(protected)
    before = yield from _drifted(evaluator, delta, ask, near)
    noisy = replace(ask, pairs=range(SCOUTS), events=(), near=near, basis=pack(Delta((Part(side, None),))))
    scores = yield from evaluator.scores(delta, noisy)
    assert scores.drift is not None
    return max(0.0, float(scores.drift.mean()) - before)


def _spread(protected: int) -> tuple[int, ...]:
    """Indices of at most SCOUT_TEXTS protected texts from all over."""
    return tuple(range(0, protected, max(1, -(-protected // SCOUT_TEXTS))))


def _drifted(evaluator: Evaluator, delta: Delta, ask: Ask, near: tuple[int, ...]) -> Slices[float]:
    """KL of `delta` itself on these texts, nats a token."""
    if not delta.parts or not near:
        return 0.0
    scores = yield from evaluator.scores(delta, replace(ask, pairs=range(1), events=(), near=near, sigma=0.0))
    assert scores.drift is not None
    return float(scores.drift.mean())


def chosen(felt: Mapping[Block, Felt]) -> list[Block]:
    """What is kept of the candidates, in the order in which the blocks stand. Empty where nothing was felt or it is not
    finite."""
    if not np.isfinite([value for one in felt.values() for value in (one.gain, one.harm)]).all():
        return []
    kept = [*_most({b: one.gain for b, one in felt.items() if b[0] == "all"}), *_best_of_a_layer(felt, "unexpected")]
    return [block for block in felt if block in kept]


def _most(gains: Mapping[Block, float]) -> list[Block]:
    """The fewest blocks that together have MOST of the gain."""
    kept: list[Block] = []
    reached, whole = 0.0, sum(gains.values())
    for block in sorted(gains, key=lambda block: -gains[block]):
        if reached >= MOST * whole:
            break
        kept.append(block)
        reached += gains[block]
    return kept


def _best_of_a_layer(felt: Mapping[Block, Felt], candidate: str) -> list[Block]:
    """The set of one layer's blocks with the highest squared gain for its harm."""
    layers: dict[str, list[Block]] = {}
    for block in sorted(felt, key=lambda block: -felt[block].gain / felt[block].harm):
        if block[0] == candidate:
            layers.setdefault(layer_of(block[1]), []).append(block)
    best: list[Block] = []
    most = 0.0
    for blocks in layers.values():
        for count in range(1, len(blocks) + 1):  # the best set of one size holds those with the highest quotients
            whole = total([felt[block] for block in blocks[:count]])
            if whole.gain**2 / whole.harm > most:
                best, most = blocks[:count], whole.gain**2 / whole.harm
    return best


def total(some: Sequence[Felt]) -> Felt:
    """Of several blocks that move together."""
    drifts = [one.drift for one in some if one.drift is not None]
    return Felt(sum(one.gain for one in some), sum(drifts) if drifts else None)


def layer_of(name: str) -> str:
    """The decoder layer that a linear belongs to, by its name up to the first number; itself where there is none."""
    path = name.split(".")
    index = next((i for i, part in enumerate(path) if part.isdigit()), len(path) - 1)
    return ".".join(path[: index + 1])


def joined(sides: Mapping[str, InputSide], blocks: Sequence[Block]) -> InputSide:
    """One input side that reads what these blocks read. The candidates are of the same linears."""
    whole = next(iter(sides.values()))
    a: dict[str, torch.Tensor] = {}
    for name in whole.a:
        own = [sides[candidate].a[name] for candidate, linear in blocks if linear == name]
        if own:
            live = torch.cat([rows[rows.any(1)] for rows in own])
            a[name] = own[0] if len(own) == 1 else orthonormal(live, len(live))
    rows = {name: kept for name, kept in whole.rows.items() if name in a}
    return InputSide(a, {name: whole.outs[name] for name in a}, rows)
