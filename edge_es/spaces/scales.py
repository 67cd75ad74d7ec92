"""The `scales` search space: quantization scales move, codes do not, so that every change is relative to its weights.

A bitsandbytes NF4 weight is code * scale with one scale for each block of consecutive weights; an int8 weight has one
scale an output row. ES searches a factor (1 + s) on each scale, or on those that a mask keeps (QZO, arXiv 2505.13430,
moves scales additively; relative moves need no step size of their own for each block). The stored scales stay as they
are: a forward pass adds x (W * s)^T beside the linear's own output, member by member, one linear at a time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch

from edge_es.noise import drawing_bytes
from edge_es.spaces.basis import Basis, Draws, MemberRows, slotted
from edge_es.spaces.delta import basis_sha256
from edge_es.spaces.dense import add_members, add_pairs
from edge_es.spaces.weights import weight_of


@dataclass(frozen=True)
class Scales:
    """gauge: linear -> (count,) fp32, the Frobenius norm of the weights under each scale that moves. kept: linear ->
    (count,) int64, which scales those are; a linear without one: all. blocks: linear -> (scales in all, weights
    under each)."""

    kind: ClassVar[str] = "scales"

    gauge: Mapping[str, torch.Tensor]
    blocks: Mapping[str, tuple[int, int]]
    kept: Mapping[str, torch.Tensor]

    @cached_property
    def slots(self) -> dict[str, tuple[int, int]]:
        return slotted((name, len(gauge)) for name, gauge in self.gauge.items())

    @cached_property
    def size(self) -> int:
        return sum(count for _, count in self.slots.values())

    @cached_property
    def sha256(self) -> str:
        return basis_sha256(self)

    def tensors(self) -> dict[str, torch.Tensor]:
        gauges = {f"gauge.{name}": gauge for name, gauge in self.gauge.items()}
        return {**gauges, **{f"kept.{name}": kept for name, kept in self.kept.items()}}

    def layout(self) -> dict[str, Any]:
        return {"kind": self.kind, "blocks": [[name, *of] for name, of in self.blocks.items()]}

    @staticmethod
    def restored(layout: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "Scales":
        """The inverse of `layout` and `tensors`."""
        blocks = {name: (int(number), int(width)) for name, number, width in layout["blocks"]}
        kept = {name: tensors[f"kept.{name}"] for name in blocks if f"kept.{name}" in tensors}
        return Scales({name: tensors[f"gauge.{name}"] for name in blocks}, blocks, kept)

    def to(self, device: torch.device | str) -> "Scales":
        gauge = {name: t.to(device) for name, t in self.gauge.items()}
        return Scales(gauge, self.blocks, {name: t.to(device) for name, t in self.kept.items()})

    def length(self, vector: torch.Tensor) -> float:
        gauge = torch.cat(list(self.gauge.values())).to(vector.device)
        return float((vector.double() * gauge.double()).norm())

    def whole(self, name: str, vector: torch.Tensor) -> torch.Tensor:
        """Moves of one linear's scales, (scales,), zero where the mask holds them; from its own coordinates."""
        if name not in self.kept:
            return vector
        return vector.new_zeros(self.blocks[name][0]).index_copy_(0, self.kept[name], vector)

    def merged(self, parts: Sequence[tuple[Basis, torch.Tensor]]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """linear -> (moves of its scales, (scales,) fp32; the norms of the weights under them, (scales,) fp32)."""
        moves: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for basis, b in parts:
            assert isinstance(basis, Scales)
            for name, (start, count) in basis.slots.items():
                move, gauge = basis.whole(name, b[start : start + count]), basis.whole(name, basis.gauge[name])
                if name in moves:
                    move, gauge = moves[name][0] + move, torch.maximum(moves[name][1], gauge)
                moves[name] = (move, gauge)
        return moves

    def norm(self, merged: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> float:
        return math.sqrt(sum(float((s.double() * gauge.double()).square().sum()) for s, gauge in merged.values()))

    def untouched(self, merged: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> tuple[int, int]:
        moved = sum(int(s.ne(0).sum()) for s, _ in merged.values())
        units = sum(len(s) for s, _ in merged.values())
        return units - moved, units

    def add(self, merged: tuple[torch.Tensor, torch.Tensor], linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        out.add_(x @ change(weight_of(linear, x.dtype), merged[0]).T)

    def add_pairs(
        self, draws: Draws, pairs: range, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        if merged is not None:
            self.add(merged, linear, x, out)
        weight = weight_of(linear, x.dtype)  # once for all members
        add_pairs(draws, pairs, name, x, out, lambda eps: change(weight, self.whole(name, eps)))

    def add_members(
        self, draws: Draws, members: MemberRows, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        if merged is not None:
            self.add(merged, linear, x, out)
        weight = weight_of(linear, x.dtype)
        add_members(draws, members, name, x, out, lambda eps: change(weight, self.whole(name, eps)))

    def noise_bytes(self, pairs: int, element: int, apart: bool = False) -> int:
        # One linear at a time, whole whatever the mask keeps: its weight, the change before and the next one, and the
        # moves of its scales as they are drawn, spread over all scales, and in the weight's type.
        scales = max(number for number, _ in self.blocks.values())
        widest = max(number * width for number, width in self.blocks.values())
        device = next(iter(self.gauge.values())).device
        return 3 * 4 * widest + 3 * 4 * scales + drawing_bytes(scales, device)

    def member_bytes(self, element: int, apart: bool = False) -> int:
        return 0


def change(weight: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """weight (out, in) times its scales' moves (scales,), one for each run of weights. Returns (out, in)."""
    width = weight.numel() // len(moves)
    return (weight.view(-1, width) * moves.to(weight.dtype)[:, None]).view(weight.shape)


def norms(linear: Any, number: int, kept: torch.Tensor | None) -> torch.Tensor:
    """The gauge of one linear with `number` scales: (kept,) or (number,) fp32."""
    whole = weight_of(linear, torch.float32).reshape(number, -1).norm(dim=1)
    return whole if kept is None else whole[kept]
