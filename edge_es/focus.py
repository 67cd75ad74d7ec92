"""Where the search looks: the part of the model that teaches most for the harm it does, found by trying each.

A block is a linear in one of the candidate input sides. A population whose pairs perturb one block each measures how
much the fitness feels it: the mean squared half-difference of its pairs is sigma^2 times the squared gradient in it,
whatever its size. The same members' mean KL to the anchor on protected texts is what the block's noise does to prior
abilities.

Of each candidate, that set of one layer's blocks is searched which has the most (sum of gains)^2 / (sum of drifts):
what a step gains for its harm, times what there is to gain. Other blocks would only add noise to every step, and
forgetting. Sets within one layer alone, since single blocks scatter too much to be ranked after a few pairs; one of
each candidate, since what is new in a prompt and what is to be answered otherwise are learned in different places.
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

SCOUTS = 4  # pairs that each block is tried with
SCOUT_EVENTS = 8
SCOUT_TEXTS = 16  # protected ones
LEAST_DRIFT = 1e-7  # nats a token: what rounding makes of none

Block = tuple[int, str]  # (candidate, linear)


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
    evaluator: Evaluator, delta: Delta, sides: Sequence[InputSide], ask: Ask, events: Sequence[Event], protected: int
) -> Slices[dict[Block, Felt]]:
    """Every block of the candidates around `delta`. `ask` gives seed, step, sigma and the rest; its pairs and events
    are replaced. protected: how many protected texts there are, from all over which some are watched. NaN where the
    fitness is not finite."""
    some = tuple(events[:SCOUT_EVENTS])
    near = tuple(range(0, protected, max(1, -(-protected // SCOUT_TEXTS))))
    raw: list[np.ndarray] = []
    drifts: list[np.ndarray] = []
    blocks: list[Block] = []
    for at, side in enumerate(sides):
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
        blocks += [(at, name) for name in side.slots]
    members = combine(np.concatenate(raw, axis=1), [event.kind for event in some], None, 0.0).members
    gains = (((members[::2] - members[1::2]) / 2) ** 2).reshape(-1, SCOUTS).mean(1)
    harms = np.concatenate(drifts).reshape(-1, 2 * SCOUTS).mean(1) if drifts else [None] * len(blocks)
    return {
        block: Felt(float(gain), None if harm is None else max(0.0, float(harm)))  # rounding may take it below
        for block, gain, harm in zip(blocks, gains, harms, strict=True)
    }


def chosen(felt: Mapping[Block, Felt]) -> list[Block]:
    """The best set of each candidate, in the order in which their blocks stand. Empty where nothing was felt or it is
    not finite."""
    if not np.isfinite([value for one in felt.values() for value in (one.gain, one.harm)]).all():
        return []
    groups: dict[tuple[int, str], list[Block]] = {}
    for block in sorted(felt, key=lambda block: -felt[block].gain / felt[block].harm):
        groups.setdefault((block[0], layer_of(block[1])), []).append(block)
    best: dict[int, tuple[float, list[Block]]] = {}
    for (candidate, _), blocks in groups.items():
        for count in range(1, len(blocks) + 1):  # the best set of one size holds those with the highest quotients
            whole = total([felt[block] for block in blocks[:count]])
            worth = whole.gain**2 / whole.harm
            if worth > best.get(candidate, (0.0, []))[0]:
                best[candidate] = (worth, blocks[:count])
    kept = [block for _, blocks in best.values() for block in blocks]
    return [block for block in felt if block in kept]


def total(some: Sequence[Felt]) -> Felt:
    """Of several blocks that move together."""
    drifts = [one.drift for one in some if one.drift is not None]
    return Felt(sum(one.gain for one in some), sum(drifts) if drifts else None)


def layer_of(name: str) -> str:
    """The decoder layer that a linear belongs to, by its name up to the first number; itself where there is none."""
    path = name.split(".")
    index = next((i for i, part in enumerate(path) if part.isdigit()), len(path) - 1)
    return ".".join(path[: index + 1])


def joined(sides: Sequence[InputSide], blocks: Sequence[Block]) -> InputSide:
    """One input side that reads what these blocks read; the linears in the order of the candidates'."""
    a: dict[str, torch.Tensor] = {}
    for name in sides[0].a:
        own = [sides[at].a[name] for at, linear in blocks if linear == name]
        if own:
            live = torch.cat([rows[rows.any(1)] for rows in own])
            a[name] = own[0] if len(own) == 1 else orthonormal(live, len(live))
    rows = {name: kept for name, kept in sides[0].rows.items() if name in a}
    return InputSide(a, {name: sides[0].outs[name] for name in a}, rows)
