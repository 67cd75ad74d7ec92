"""Changes like those that are learned: low-rank, in some linears; what they do is random, what they read may be not."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part
from edge_es.spaces.input_side import find

ENERGY = 0.99  # of the protected inputs, which a learned input side leaves out, as by default
MOST_LINEARS, MOST_RANK = 6, 4
FEEDBACK, PROTECTED = 32, 64  # texts that an input side is learned from


@dataclass(frozen=True)
class Direction:
    """b: flat, such that the weights move by 1 in all (Frobenius)."""

    learned: bool
    side: InputSide
    b: torch.Tensor

    def delta(self, scale: float) -> Delta:
        return Delta((Part(self.side, self.b * scale),))


def direction(base: Base, feedback: Sequence[Text], protected: Sequence[Text], rng: random.Random) -> Direction:
    """A random one of 1 to MOST_LINEARS linears and 1 to MOST_RANK input directions each. Half of them read random
    directions; the others what is novel in some of the feedback, as edge-es finds it, with or without the protected
    texts' directions removed. What they write is random."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    names = rng.sample(base.layers, rng.randint(1, MOST_LINEARS))
    names = [name for name in base.layers if name in names]
    rank, learned = rng.randint(1, MOST_RANK), rng.random() < 0.5
    if learned:
        energy = rng.choice((0.0, ENERGY))
        some, kept = rng.sample(feedback, FEEDBACK), rng.sample(protected, PROTECTED)
        side = run(find(base, Delta(), names, some, kept, rank, energy, OPEN)).sides["all"]
    else:
        a = {name: _orthonormal(base.model.get_submodule(name).in_features, rank, generator) for name in names}
        side = InputSide({name: one.to(base.device) for name, one in a.items()}, base.outs(names))
    b = torch.randn(side.size, generator=generator).to(base.device)
    return Direction(learned, side, b / Delta((Part(side, b),)).norm())


def _orthonormal(width: int, rank: int, generator: torch.Generator) -> torch.Tensor:
    """(rank, width)"""
    return torch.linalg.qr(torch.randn(width, rank, generator=generator))[0].T.contiguous()
