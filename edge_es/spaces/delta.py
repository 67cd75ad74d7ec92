"""The learned displacement from the anchor: parts, each a basis with a flat fp32 vector. Immutable.

Whatever the search space, a step is vector arithmetic on the newest part: additions and multiplications in a fixed
order, each rounded by itself, the same bits on every machine.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from safetensors.torch import save

from edge_es import noise
from edge_es.errors import StateError
from edge_es.spaces.basis import Basis

NOISE_AT_ONCE = 2**24  # numbers
LINEARS_AT_ONCE = 2**20  # numbers of one pair


@dataclass(frozen=True)
class Part:
    """A basis with its vector. b: flat (basis.size,) fp32, or None where only the basis is meant."""

    basis: Basis
    b: torch.Tensor | None


@dataclass(frozen=True)
class Delta:
    """No parts is the anchor itself. The newest part is active, the earlier ones are frozen; all are of one space."""

    parts: tuple[Part, ...] = ()

    @property
    def active(self) -> Part:
        """The part that ES moves. Raises StateError where there is none yet."""
        if not self.parts:
            raise StateError("the delta has no basis yet; add one before a step")
        return self.parts[-1]

    @cached_property
    def sha256(self) -> str:
        """Over every part's basis and the bytes of its vector (fp32, little endian)."""
        digest = hashlib.sha256()
        for part in self.parts:
            assert part.b is not None
            digest.update(part.basis.sha256.encode())
            digest.update(part.b.cpu().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def merged(self) -> dict[str, Any]:
        """linear -> what a forward pass reads of all parts together."""
        parts = [(part.basis, part.b) for part in self.parts if part.b is not None]
        return self.parts[-1].basis.merged(parts) if parts else {}

    def add(self, name: str, linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        """out += change x of one linear, in place."""
        change = self.merged.get(name)
        if change is not None:
            self.parts[-1].basis.add(change, linear, x, out)

    def same_space(self, kind: str) -> None:
        """Raises StateError where this was learned in another search space than `kind`."""
        if self.parts and self.parts[-1].basis.kind != kind:
            raise StateError(
                f"this state was learned in the search space '{self.parts[-1].basis.kind}', not '{kind}'; set "
                "search.space back, or take another state folder"
            )

    def with_basis(self, basis: Basis) -> "Delta":
        """A new active part whose vector is zero; what was learned before stays as frozen parts. Raises StateError
        for a basis of another space."""
        self.same_space(basis.kind)
        device = next(iter(basis.tensors().values())).device
        return Delta((*self.parts, Part(basis, torch.zeros(basis.size, device=device))))

    def norm(self) -> float:
        """Frobenius norm of the effective change of the weights, in float64."""
        return self.parts[-1].basis.norm(self.merged) if self.parts else 0.0

    def sparsity(self) -> float:
        """Share of what may move (rows, scales or weights of the adapted linears) that is exactly as it was."""
        if not self.parts:
            return 1.0
        same, units = self.parts[-1].basis.untouched(self.merged)
        return same / units

    def bytes(self) -> int:
        """Of all its tensors."""
        held = [t for part in self.parts for t in (*part.basis.tensors().values(), part.b) if t is not None]
        return sum(t.numel() * t.element_size() for t in held)

    def to(self, device: torch.device | str) -> "Delta":
        """The same delta with its tensors on `device`."""
        moved = [Part(p.basis.to(device), p.b.to(device) if p.b is not None else None) for p in self.parts]
        return Delta(tuple(moved))


def flat_step(
    basis: Basis,
    seed: int,
    step: int,
    weights: Sequence[float],
    device: torch.device | str,
    numbers: Sequence[int] = (),
) -> torch.Tensor:
    """Sum over pairs of weight * noise, (basis.size,) fp32, in the order of `weights`, one rounding an operation.
    numbers: which pairs of the step those are; none: 0, 1, 2, ..."""
    numbers = numbers or range(len(weights))
    total = torch.zeros(basis.size, device=device)
    # Some linears, and a few pairs, at a time, so that little noise is in memory at once.
    for names in noise.together({name: (count,) for name, (_, count) in basis.slots.items()}, LINEARS_AT_ONCE):
        count = basis.slots[names[0]][1]
        own = torch.zeros(len(names), count, device=device)
        chunk = max(1, NOISE_AT_ONCE // max(1, len(names) * count))
        for first in range(0, len(weights), chunk):
            pairs = numbers[first : first + chunk]
            eps = noise.noise_of_many(seed, step, pairs, names, count, device)
            for at in range(len(pairs)):
                # Two instructions on purpose: add_(alpha=) may fuse them, and a fused result differs between machines.
                own.add_(eps[:, at].mul_(weights[first + at]))
        for name, sums in zip(names, own, strict=True):
            start = basis.slots[name][0]
            total[start : start + count] = sums
    return total


def basis_sha256(basis: Basis) -> str:
    """Of the blob that holds a basis alone."""
    return hashlib.sha256(pack(Delta((Part(basis, None),)))).hexdigest()


def pack(delta: Delta) -> bytes:
    """The blob of a delta, or of a basis alone (a part whose b is None): safetensors."""
    tensors: dict[str, torch.Tensor] = {}
    for index, part in enumerate(delta.parts):
        for name, tensor in part.basis.tensors().items():
            tensors[f"{index}.{name}"] = tensor.cpu().clone()  # q, k and v share one; the format cannot
        if part.b is not None:
            tensors[f"{index}.b"] = part.b.cpu().contiguous()
    layout = [part.basis.layout() for part in delta.parts]
    if not tensors:
        tensors["empty"] = torch.zeros(1)
    return save(tensors, metadata={"outs": json.dumps(layout)})  # one key: the order of several is not fixed
