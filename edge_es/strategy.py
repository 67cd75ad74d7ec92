"""Evolution strategies: ask for members, shape their fitness, tell a step. Knows numbers and tensors, no model.

The step is the antithetic estimator of Salimans et al. (arXiv 1703.03864) with the scaling of the paper that
edge-es answers (arXiv 2601.20861): delta += alpha / N * sum over members of shaped fitness * noise, no division by
sigma. Members come in pairs (+eps, -eps) that share one noise tensor.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from edge_es import noise
from edge_es.spaces.basis import Basis
from edge_es.spaces.delta import Delta, Part, flat_step


@dataclass(frozen=True)
class Population:
    """The members of one step: noise is a function of (seed, step, pair, layer) and lives no longer than the step.

    first: the pair of the step that this population begins with, where it is a share of the step's.
    apart: each pair moves one linear alone, pair p the linear p modulo their number.
    made: perturbations already generated for this step, and layouts of its rows, kept so that its batches do not make
    them anew.
    """

    seed: int
    step: int
    size: int
    sigma: float
    basis: Basis
    first: int = 0
    apart: bool = False
    made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def pairs(self) -> int:
        """Members are numbered pair by pair: 2 * pair is plus, 2 * pair + 1 is minus."""
        return self.size // 2

    def moving(self, name: str, pairs: range) -> range:
        """Those of `pairs` that move this linear: all, or every n-th where n linears are moved apart."""
        if not self.apart:
            return pairs
        names = list(self.basis.slots)
        ahead = (names.index(name) - self.first - pairs.start) % len(names)
        return range(pairs.start + ahead, pairs.stop, len(names))

    def draw(self, names: Sequence[str], pairs: range, device: torch.device) -> torch.Tensor:
        """sigma * noise of the coordinates of linears that have equally many, (len(names), len(pairs), count) fp32."""
        _, count = self.basis.slots[names[0]]
        drawn = range(pairs.start + self.first, pairs.stop + self.first, pairs.step)
        eps = noise.noise_of_many(self.seed, self.step, drawn, names, count, device).mul_(self.sigma)
        if self.apart:
            every = list(self.basis.slots)
            for own, name in zip(eps, names, strict=True):
                own[[i for i, pair in enumerate(drawn) if every[pair % len(every)] != name]] = 0.0
        return eps


def ask(delta: Delta, seed: int, step: int, size: int, sigma: float) -> Population:
    """A population of `size` (even) around `delta`, in its active part. Raises ValueError for another size."""
    if size < 2 or size % 2:
        raise ValueError(f"a population is even and at least 2, not {size}")
    return Population(seed, step, size, sigma, delta.active.basis)


def zscore(fitness: Sequence[float]) -> list[float]:
    """(f - mean) / standard deviation; zeros where all are equal."""
    spread = statistics.pstdev(fitness)
    centre = statistics.fmean(fitness)
    return [(f - centre) / spread if spread > 0 else 0.0 for f in fitness]


def centred_rank(fitness: Sequence[float]) -> list[float]:
    """Ranks mapped to [-1/2, 1/2], ties sharing their mean rank; zeros where all are equal."""
    values = np.asarray(fitness, dtype=np.float64)
    order = np.sort(values)
    low, high = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    rank = (low + high - 1) / 2
    return [float(r) for r in rank / max(1, len(values) - 1) - 0.5]


SHAPING = {"zscore": zscore, "rank": centred_rank}


def apply(
    delta: Delta,
    seed: int,
    step: int,
    shaped: Sequence[float],
    alpha: float,
    guards: Mapping[str, float],
    pairs: Sequence[int] = (),
) -> Delta:
    """The delta after a step, as live learning and replay both compute it.

    `guards` holds the scalars that were decided when the step was made: the factors `clip` (on the step), `decay` and
    `trust` (on the whole delta, frozen parts included). pairs: as in `raw_step`. Only elementwise
    fp32 operations in a fixed order; no matrix product, no reduction.
    """
    active = delta.active
    assert active.b is not None
    step_b = raw_step(delta, seed, step, shaped, alpha, pairs)
    step_b.mul_(fp32(guards.get("clip", 1.0)))
    decay, trust = fp32(guards.get("decay", 1.0)), fp32(guards.get("trust", 1.0))
    parts = [Part(p.basis, p.b.mul(decay).mul_(trust)) for p in delta.parts[:-1] if p.b is not None]
    return Delta((*parts, Part(active.basis, active.b.mul(decay).add_(step_b).mul_(trust))))


def raw_step(
    delta: Delta, seed: int, step: int, shaped: Sequence[float], alpha: float, pairs: Sequence[int] = ()
) -> torch.Tensor:
    """The step before any clip, (basis.size,) fp32. `shaped` holds plus and minus members in turn, of the pairs with
    these numbers; none: 0, 1, 2, ..."""
    active = delta.active
    assert active.b is not None
    weights = [fp32(alpha / len(shaped) * (shaped[i] - shaped[i + 1])) for i in range(0, len(shaped), 2)]
    return flat_step(active.basis, seed, step, weights, active.b.device, pairs)


def fp32(value: float) -> float:
    """Rounded to fp32 once, so that no device rounds a double scalar in a way of its own."""
    return float(np.float32(value))
