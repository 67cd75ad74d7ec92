"""The `adapter` search space: a low-rank delta beside frozen linears, of which only the output side is searched.

Each adapted linear computes W x + sum over parts of B A x. A part's input side A (rank, in) has orthonormal rows and
is frozen when it is made (`input_side.py`); ES searches its output side B (out, rank). The newest part is active; the
earlier ones are frozen parts of the delta. All B of a part live in one flat fp32 vector, so that a step is vector
arithmetic: additions and multiplications in a fixed order, each rounded by itself, the same bits on every machine.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from safetensors.torch import save

from edge_es import noise
from edge_es.errors import StateError


@dataclass(frozen=True)
class InputSide:
    """Frozen directions that the search reads.

    a: layer name -> (rank, in) fp32 with orthonormal rows; a zero row is a direction that was not to be had.
    outs: layer name -> out. Both in the order in which layers are laid out in a flat vector.
    """

    a: Mapping[str, torch.Tensor]
    outs: Mapping[str, int]

    @cached_property
    def slots(self) -> dict[str, tuple[int, int, int]]:
        """layer name -> (start, out, rank) of its B in the flat vector."""
        slots, start = {}, 0
        for name, a in self.a.items():
            slots[name] = (start, self.outs[name], a.shape[0])
            start += self.outs[name] * a.shape[0]
        return slots

    @cached_property
    def size(self) -> int:
        """Length of the flat vector: how many numbers ES searches."""
        return sum(out * rank for _, out, rank in self.slots.values())

    @cached_property
    def sha256(self) -> str:
        """Of its blob."""
        return hashlib.sha256(pack(Delta((Part(self, None),)))).hexdigest()

    def to(self, device: torch.device | str) -> "InputSide":
        """The same side with its tensors on `device`."""
        return InputSide({name: a.to(device) for name, a in self.a.items()}, self.outs)


@dataclass(frozen=True)
class Part:
    """An input side with its output side. b: flat (side.size,) fp32, or None where only the side is meant."""

    side: InputSide
    b: torch.Tensor | None

    def output_side(self, name: str) -> torch.Tensor:
        """B of one layer, (out, rank), a view."""
        start, out, rank = self.side.slots[name]
        assert self.b is not None
        return self.b[start : start + out * rank].view(out, rank)


@dataclass(frozen=True)
class Delta:
    """The learned displacement from the anchor; no parts is the anchor itself. Immutable: a step makes a new one."""

    parts: tuple[Part, ...] = ()

    @property
    def active(self) -> Part:
        """The part that ES moves. Raises StateError where there is none yet."""
        if not self.parts:
            raise StateError("the delta has no input side yet; add one before a step")
        return self.parts[-1]

    @cached_property
    def sha256(self) -> str:
        """Over every part's input side and the bytes of its B (fp32, little endian)."""
        digest = hashlib.sha256()
        for part in self.parts:
            assert part.b is not None
            digest.update(part.side.sha256.encode())
            digest.update(part.b.cpu().numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def stacked(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """layer name -> (A of all parts (R, in), B of all parts transposed (R, out)): what a forward pass reads."""
        names = dict.fromkeys(name for part in self.parts for name in part.side.a)
        stacked = {}
        for name in names:
            parts = [part for part in self.parts if name in part.side.a]
            a = torch.cat([part.side.a[name] for part in parts])
            b = torch.cat([part.output_side(name).T for part in parts])
            stacked[name] = (a, b.contiguous())
        return stacked

    def with_side(self, side: InputSide) -> "Delta":
        """A new active part whose B is zero; what was learned before stays as frozen parts."""
        device = next(iter(side.a.values())).device
        return Delta((*self.parts, Part(side, torch.zeros(side.size, device=device))))

    def norm(self) -> float:
        """Frobenius norm of the effective change of the weights, sum over parts of B A, in float64."""
        squares = 0.0
        for a, b in self.stacked.values():
            a64, b64 = a.double(), b.double()
            squares += float(((b64 @ b64.T) * (a64 @ a64.T)).sum())
        return math.sqrt(max(squares, 0.0))

    def sparsity(self) -> float:
        """Share of the adapted linears' output rows that the delta leaves exactly as they were; 1 for the anchor."""
        rows = [b.ne(0).any(0) for _, b in self.stacked.values()]
        return 1.0 - float(torch.cat(rows).float().mean()) if rows else 1.0

    def rank(self) -> int:
        """Input directions a layer, over all parts."""
        return max((a.shape[0] for a, _ in self.stacked.values()), default=0)

    def to(self, device: torch.device | str) -> "Delta":
        """The same delta with its tensors on `device`."""
        parts = [Part(p.side.to(device), p.b.to(device) if p.b is not None else None) for p in self.parts]
        return Delta(tuple(parts))


def unit_noise(side: InputSide, seed: int, step: int, pairs: range, name: str, device: torch.device) -> torch.Tensor:
    """Noise of one layer's B for several pairs, (len(pairs), out, rank) fp32, unit variance."""
    _, out, rank = side.slots[name]
    return noise.noise(seed, step, pairs, name, (out, rank), device)


def flat_step(side: InputSide, seed: int, step: int, weights: list[float], device: torch.device | str) -> torch.Tensor:
    """Sum over pairs of weights[pair] * noise, (side.size,) fp32, in pair order, one rounding an operation."""
    total = torch.zeros(side.size, device=device)
    # Layer by layer, so that only one layer's noise is in memory at a time.
    for name, (start, out, rank) in side.slots.items():
        eps = noise.noise(seed, step, range(len(weights)), name, (out * rank,), device)
        target = total[start : start + out * rank]
        for pair, weight in enumerate(weights):
            # Two instructions on purpose: add_(alpha=) may fuse them, and a fused result differs between machines.
            target.add_(eps[pair].mul_(weight))
    return total


def row_mask(side: InputSide, seed: int, density: float) -> torch.Tensor:
    """Sparsity mask over the flat vector, whole rows of B at a time. Returns (side.size,) bool on the CPU."""
    kept = [
        noise.keep_rows(seed, name, out, density).repeat_interleave(rank) for name, (_, out, rank) in side.slots.items()
    ]
    return torch.cat(kept)


def pack(delta: Delta) -> bytes:
    """The blob of a delta, or of an input side alone (a part whose b is None): safetensors with fp32 tensors."""
    tensors: dict[str, torch.Tensor] = {}
    for index, part in enumerate(delta.parts):
        for name, a in part.side.a.items():
            tensors[f"{index}.a.{name}"] = a.cpu().clone()  # q, k and v share one; the format cannot
        if part.b is not None:
            tensors[f"{index}.b"] = part.b.cpu().contiguous()
    outs = [list(part.side.outs.items()) for part in delta.parts]
    if not tensors:
        tensors["empty"] = torch.zeros(1)
    return save(tensors, metadata={"outs": json.dumps(outs)})  # one key: the order of several is not fixed


def unpack(blob: bytes) -> Delta:
    """The inverse of `pack`, on the CPU. Raises StateError if the bytes are no such blob."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        outs = json.loads(header["__metadata__"]["outs"])
        parts = []
        for index, pairs in enumerate(outs):
            a = {name: tensors[f"{index}.a.{name}"] for name, _ in pairs}
            parts.append(Part(InputSide(a, dict(pairs)), tensors.get(f"{index}.b")))
    except (SafetensorError, KeyError, ValueError) as error:
        raise StateError(f"a stored blob is no delta ({error}); roll back to a version before it") from None
    return Delta(tuple(parts))
