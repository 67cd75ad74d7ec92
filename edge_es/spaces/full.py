"""The `full` search space: every weight of the linears moves by itself, or those that a mask keeps.

Dense ES as published (arXiv 2601.20861), for small unquantized models and for reproducing that paper; the delta is
fp32 beside the weights, and a member's change is built linear by linear in the forward pass, never added to the
weights and subtracted again. A masked delta holds its kept entries only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch

from edge_es.noise import drawing_bytes
from edge_es.spaces.basis import Basis, Draws, MemberRows, slotted
from edge_es.spaces.delta import basis_sha256
from edge_es.spaces.dense import add_members, add_pairs


@dataclass(frozen=True)
class Entries:
    """shapes: linear -> (out, in). kept: linear -> (count,) int64 places in the flattened weight; a linear without
    one: all."""

    kind: ClassVar[str] = "full"

    shapes: Mapping[str, tuple[int, int]]
    kept: Mapping[str, torch.Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def slots(self) -> dict[str, tuple[int, int]]:
        return slotted(
            (name, len(self.kept[name]) if name in self.kept else out * width)
            for name, (out, width) in self.shapes.items()
        )

    @cached_property
    def size(self) -> int:
        return sum(count for _, count in self.slots.values())

    @cached_property
    def sha256(self) -> str:
        return basis_sha256(self)

    def tensors(self) -> dict[str, torch.Tensor]:
        # Something must be there even without a mask: a blob of no tensors has no header.
        shapes = torch.tensor(list(self.shapes.values()), device=self.device).flatten()
        return {"shapes": shapes, **{f"kept.{name}": kept for name, kept in self.kept.items()}}

    def layout(self) -> dict[str, Any]:
        return {"kind": self.kind, "shapes": [[name, *shape] for name, shape in self.shapes.items()]}

    @staticmethod
    def restored(layout: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "Entries":
        """The inverse of `layout` and `tensors`."""
        shapes = {name: (int(out), int(width)) for name, out, width in layout["shapes"]}
        return Entries(shapes, {name: tensors[f"kept.{name}"] for name in shapes if f"kept.{name}" in tensors})

    def to(self, device: torch.device | str) -> "Entries":
        kept = {name: places.to(device) for name, places in self.kept.items()}
        return Entries(self.shapes, kept, torch.device(device))

    def length(self, vector: torch.Tensor) -> float:
        return float(vector.double().norm())

    def change(self, name: str, vector: torch.Tensor) -> torch.Tensor:
        """The change of one linear's weight, (out, in), from its own coordinates."""
        shape = self.shapes[name]
        if name not in self.kept:
            return vector.view(shape)
        return vector.new_zeros(math.prod(shape)).index_copy_(0, self.kept[name], vector).view(shape)

    def merged(
        self, parts: Sequence[tuple[Basis, torch.Tensor]]
    ) -> dict[str, list[tuple["Entries", str, torch.Tensor]]]:
        """linear -> each part's basis with its own coordinates (views: nothing grows to the full size here)."""
        merged: dict[str, list[tuple[Entries, str, torch.Tensor]]] = {}
        for basis, b in parts:
            assert isinstance(basis, Entries)
            for name, (start, count) in basis.slots.items():
                merged.setdefault(name, []).append((basis, name, b[start : start + count]))
        return merged

    def norm(self, merged: Mapping[str, list[tuple["Entries", str, torch.Tensor]]]) -> float:
        return math.sqrt(sum(float(_built(own).double().square().sum()) for own in merged.values()))

    def untouched(self, merged: Mapping[str, list[tuple["Entries", str, torch.Tensor]]]) -> tuple[int, int]:
        moved = sum(int(_built(own).ne(0).sum()) for own in merged.values())
        units = sum(math.prod(own[0][0].shapes[own[0][1]]) for own in merged.values())
        return units - moved, units

    def add(
        self, merged: list[tuple["Entries", str, torch.Tensor]], linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]), _built(merged).to(x.dtype).T)

    def add_pairs(
        self, draws: Draws, pairs: range, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        if merged is not None:
            self.add(merged, linear, x, out)
        add_pairs(draws, pairs, name, x, out, lambda eps: self.change(name, eps))

    def add_members(
        self, draws: Draws, members: MemberRows, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        if merged is not None:
            self.add(merged, linear, x, out)
        add_members(draws, members, name, x, out, lambda eps: self.change(name, eps))

    def noise_bytes(self, pairs: int, element: int, apart: bool = False) -> int:
        # One linear at a time: the change before, the numbers of the next one, and the change that they are put into.
        widest = max(math.prod(shape) for shape in self.shapes.values())
        return 3 * 4 * widest + drawing_bytes(widest, self.device)

    def member_bytes(self, element: int, apart: bool = False) -> int:
        return 0


def _built(own: list[tuple[Entries, str, torch.Tensor]]) -> torch.Tensor:
    """The change of one linear's weight by all parts, (out, in) fp32."""
    total: torch.Tensor | None = None
    for basis, name, vector in own:
        change = basis.change(name, vector)
        total = change if total is None else total + change
    assert total is not None
    return total
