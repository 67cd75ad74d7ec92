"""What every search space is made of: a basis (frozen coordinates in a set of linears) and a flat vector over it.

ES searches the flat vector; the basis says what change of each linear's weight the vector stands for. The change is
linear in the vector, so that parts, members and steps add. A basis knows how to add its term to a linear's output,
for the rows of one version, for a scoring batch (pairs of members) and for a decoding batch (a member a row), and
never writes to the weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch


class Draws(Protocol):
    """The noise of one step, as a basis reads it (`strategy.Population`)."""

    @property
    def pairs(self) -> int: ...

    @property
    def made(self) -> dict[Any, Any]:
        """Room for what a basis prepares once a step."""
        ...

    def moving(self, name: str, pairs: range) -> range:
        """Those of `pairs`, a range without gaps, that move this linear at all; evenly spaced."""
        ...

    def draw(self, names: Sequence[str], pairs: range, device: torch.device) -> torch.Tensor:
        """sigma * noise of the coordinates of linears that have equally many, (len(names), len(pairs), count) fp32."""
        ...


@dataclass(frozen=True)
class MemberRows:
    """Which rows of a decoding batch belong to members, and to which: rows (m,) int64 indices into the batch, pair
    (m,) int64, sign (m,) fp32; `whole`: every row of the batch, in order. made: room for what a basis prepares once a
    layout."""

    rows: torch.Tensor
    pair: torch.Tensor
    sign: torch.Tensor
    whole: bool
    made: dict[Any, Any]


def slotted(counts: Iterable[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """`Basis.slots` of linears that have so many coordinates, in this order."""
    slots, start = {}, 0
    for name, count in counts:
        slots[name] = (start, count)
        start += count
    return slots


class Basis(Protocol):
    """Frozen when made. slots: linear -> (start, count) of its coordinates in the flat vector."""

    kind: ClassVar[str]

    @property
    def slots(self) -> Mapping[str, tuple[int, int]]: ...

    @property
    def size(self) -> int:
        """Length of the flat vector: how many numbers ES searches."""
        ...

    @property
    def sha256(self) -> str:
        """Of its blob."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """What its blob holds, by name."""
        ...

    def layout(self) -> Any:
        """What its blob's header says beside the tensors, as JSON."""
        ...

    def to(self, device: torch.device | str) -> "Basis": ...

    def length(self, vector: torch.Tensor) -> float:
        """Frobenius norm of the change of the weights that a flat vector (size,) stands for, in float64."""
        ...

    def merged(self, parts: Sequence[tuple["Basis", torch.Tensor]]) -> dict[str, Any]:
        """linear -> what a forward pass reads of all parts (of this kind) together."""
        ...

    def norm(self, merged: Mapping[str, Any]) -> float:
        """Frobenius norm of the effective change of the weights, in float64."""
        ...

    def untouched(self, merged: Mapping[str, Any]) -> tuple[int, int]:
        """(units that are exactly as they were, units): rows of the linears, scales or single weights."""
        ...

    def add(self, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        """out += change x, in place; x (rows, seq, in), out (rows, seq, features)."""
        ...

    def add_pairs(
        self, draws: Draws, pairs: range, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        """out += (change + perturbation) x; rows stand pair by pair, plus then minus, equally many each. merged: what
        `add` takes of the version that the members are around, None where it does not move this linear."""
        ...

    def add_members(
        self, draws: Draws, members: MemberRows, name: str, merged: Any, linear: Any, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        """out += perturbation x, in the rows that belong to members; and += change x in all rows, where `merged` is
        given."""
        ...

    def noise_bytes(self, pairs: int, element: int, apart: bool = False) -> int:
        """Bytes that a step's perturbations hold while it is evaluated, at `element` bytes a number. apart: each pair
        moves one linear alone."""
        ...

    def member_bytes(self, element: int, apart: bool = False) -> int:
        """Bytes that `add_members` keeps for one row at most."""
        ...
