"""The effective change of the weights since the anchor: its norm, its share of the weights, its zeros.

Sparsity is the share of weights that moved by at most tau. The paper measures it on bf16 weights, where rounding makes
zeros of small changes; here both are given, the change as it is (fp32) and as bf16 weights would show it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

TAUS = (1e-6, 1e-4)


@dataclass(frozen=True)
class Moved:
    """A weight by name, before, and what was added to it; both fp32 of one shape."""

    name: str
    before: torch.Tensor
    change: torch.Tensor


@dataclass(frozen=True)
class Change:
    """norm: Frobenius. relative: over that of the weights before. largest: of the weights, the largest relative norm
    of one. sparsity: kind of layer ('all' for all together) -> {"fp32@1e-06": share, ...}."""

    norm: float
    relative: float
    largest: float
    sparsity: Mapping[str, Mapping[str, float]]


def measured(moved: Iterable[Moved]) -> Change:
    """Of all the weights that could have moved, those included that did not."""
    squares = whole = largest = 0.0
    zeros: dict[str, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    for one in moved:
        norm, of = float(one.change.double().norm()), float(one.before.double().norm())
        squares, whole = squares + norm**2, whole + of**2
        largest = max(largest, norm / of if of else 0.0)
        rounded = (one.before + one.change).bfloat16().float() - one.before.bfloat16().float()
        for kind in (kind_of(one.name), "all"):
            sizes[kind] = sizes.get(kind, 0) + one.change.numel()
            for precision, change in (("fp32", one.change), ("bf16", rounded)):
                for tau in TAUS:
                    counts = zeros.setdefault(kind, {})
                    key = f"{precision}@{tau:g}"
                    counts[key] = counts.get(key, 0) + int((change.abs() <= tau).sum())
    shares = {kind: {key: n / sizes[kind] for key, n in counts.items()} for kind, counts in zeros.items()}
    return Change(math.sqrt(squares), math.sqrt(squares / whole) if whole else 0.0, largest, shares)


def kind_of(name: str) -> str:
    """'q_proj' of 'model.layers.3.self_attn.q_proj.weight'; every norm is 'norm'."""
    parts = [part for part in name.split(".") if part not in ("weight", "bias")]
    return "norm" if "norm" in parts[-1] else parts[-1]
