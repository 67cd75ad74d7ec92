"""The `adapter` search space: a low-rank delta beside frozen linears, of which only the output side is searched.

Each adapted linear computes W x + sum over parts of B A x. A part's input side A (rank, in) has orthonormal rows and
is frozen when it is made (`input_side.py`); ES searches its output side B (out, rank), or the rows of it that a mask
keeps. A member's term is one batched product over its rows' A x, which is `rank` numbers a token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch

from edge_es import noise
from edge_es.noise import drawing_bytes
from edge_es.spaces import fused
from edge_es.spaces.basis import Basis, Draws, MemberRows, slotted
from edge_es.spaces.delta import Delta, basis_sha256

AT_ONCE = 2**20  # numbers that are drawn together


@dataclass(frozen=True)
class InputSide:
    """Frozen directions that the search reads.

    a: linear -> (rank, in) fp32 with orthonormal rows; a zero row is a direction that was not to be had.
    outs: linear -> out. Both in the order in which linears are laid out in a flat vector.
    rows: linear -> (kept,) int64, the rows of B that a mask lets move; a linear without one: all.
    """

    kind: ClassVar[str] = "adapter"

    a: Mapping[str, torch.Tensor]
    outs: Mapping[str, int]
    rows: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def slots(self) -> dict[str, tuple[int, int]]:
        """linear -> (start, count) of its B, row by row, in the flat vector."""
        return slotted((name, self.kept(name) * a.shape[0]) for name, a in self.a.items())

    @cached_property
    def size(self) -> int:
        return sum(count for _, count in self.slots.values())

    @cached_property
    def sha256(self) -> str:
        return basis_sha256(self)

    def only(self, names: Sequence[str]) -> "InputSide":
        """The same directions of these linears alone."""
        rows = {name: self.rows[name] for name in names if name in self.rows}
        return InputSide({name: self.a[name] for name in names}, {name: self.outs[name] for name in names}, rows)

    def kept(self, name: str) -> int:
        """Rows of B that may move."""
        return len(self.rows[name]) if name in self.rows else self.outs[name]

    def tensors(self) -> dict[str, torch.Tensor]:
        sides = {f"a.{name}": a for name, a in self.a.items()}
        return {**sides, **{f"rows.{name}": rows for name, rows in self.rows.items()}}

    def layout(self) -> list[list[Any]]:
        return [[name, out] for name, out in self.outs.items()]

    @staticmethod
    def restored(layout: Sequence[tuple[str, int]], tensors: Mapping[str, torch.Tensor]) -> "InputSide":
        """The inverse of `layout` and `tensors`."""
        a = {name: tensors[f"a.{name}"] for name, _ in layout}
        rows = {name: tensors[f"rows.{name}"] for name, _ in layout if f"rows.{name}" in tensors}
        return InputSide(a, dict(layout), rows)

    def to(self, device: torch.device | str) -> "InputSide":
        a = {name: a.to(device) for name, a in self.a.items()}
        return InputSide(a, self.outs, {name: rows.to(device) for name, rows in self.rows.items()})

    def length(self, vector: torch.Tensor) -> float:
        return float(vector.double().norm())  # A's rows are orthonormal

    def output_side(self, name: str, b: torch.Tensor) -> torch.Tensor:
        """B of one linear, (out, rank); rows that a mask holds are zero."""
        start, count = self.slots[name]
        own = b[start : start + count].view(self.kept(name), -1)
        if name not in self.rows:
            return own
        whole = own.new_zeros(self.outs[name], own.shape[1])
        whole[self.rows[name]] = own
        return whole

    def merged(self, parts: Sequence[tuple[Basis, torch.Tensor]]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """linear -> (A of all parts (R, in), B of all parts transposed (R, out))."""
        sides = [(side, b) for side, b in parts if isinstance(side, InputSide)]
        stacked = {}
        for name in dict.fromkeys(name for side, _ in sides for name in side.a):
            own = [(side, b) for side, b in sides if name in side.a]
            a = torch.cat([side.a[name] for side, _ in own])
            stacked[name] = (a, torch.cat([side.output_side(name, b).T for side, b in own]).contiguous())
        return stacked

    def norm(self, merged: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> float:
        squares = 0.0
        for a, b in merged.values():
            a64, b64 = a.double(), b.double()
            squares += float(((b64 @ b64.T) * (a64 @ a64.T)).sum())
        return math.sqrt(max(squares, 0.0))

    def untouched(self, merged: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> tuple[int, int]:
        moved = sum(int(b.ne(0).any(0).sum()) for _, b in merged.values())
        units = sum(b.shape[1] for _, b in merged.values())
        return units - moved, units

    def add(self, merged: tuple[torch.Tensor, torch.Tensor], linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        a, b = merged
        if fused.runs(x, out, a):
            fused.add(fused.of_version(merged), x, out)
            return
        z = x @ a.to(x.dtype).T  # (rows, seq, R)
        _add_product(out.view(1, -1, out.shape[-1]), z.view(1, -1, z.shape[-1]), b.to(x.dtype)[None])

    def add_pairs(
        self,
        draws: Draws,
        pairs: range,
        name: str,
        merged: tuple[torch.Tensor, torch.Tensor] | None,
        linear: Any,
        x: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        moving = draws.moving(name, pairs)
        at_once = len(moving) == len(pairs) and name not in self.rows and fused.runs(x, out, self.a[name])
        if merged is not None and not (at_once and fused.runs(x, out, merged[0])):
            self.add(merged, linear, x, out)
            merged = None
        if at_once:
            eps = self._perturbation(draws, moving, name, x)
            places = _places(draws, len(pairs), len(x), x.device)
            fused.add(fused.of_members(merged, self.a[name], eps, places), x, out)
            return
        if not moving:
            return
        a = self.a[name].to(x.dtype)
        eps = self._perturbation(draws, moving, name, x)  # (pairs, rank, kept)
        own = slice(moving.start - pairs.start, None, moving.step)
        out = out.view(len(pairs), -1, out.shape[-1])[own]
        z = x.reshape(len(pairs), 2, -1, x.shape[-1])[own] @ a.T  # (pairs, sign, rows of a member * seq, rank)
        z[:, 1].neg_()  # an antithetic pair reads one noise tensor; the sign rides on z, the smaller side
        if name in self.rows:
            out.index_add_(-1, self.rows[name], torch.bmm(z.flatten(1, 2), eps))
        else:
            _add_product(out, z.flatten(1, 2), eps)

    def add_members(
        self,
        draws: Draws,
        members: MemberRows,
        name: str,
        merged: tuple[torch.Tensor, torch.Tensor] | None,
        linear: Any,
        x: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        known = members.made.get(("terms", name))
        if known is not None and out.is_contiguous():
            fused.add(known, x, out)
            return
        every = range(draws.pairs)
        at_once = draws.moving(name, every) == every and name not in self.rows and fused.runs(x, out, self.a[name])
        all_in_one = merged is None or (at_once and members.whole and fused.runs(x, out, merged[0]))
        if merged is not None and not all_in_one:
            self.add(merged, linear, x, out)
            merged = None
        if at_once:
            eps = self._perturbation(draws, every, name, x)
            places = fused.Places(members.rows, members.pair, members.sign)
            terms = fused.of_members(merged, self.a[name], eps, places)
            fused.add(terms, x, out)
            if all_in_one:  # once a layout
                members.made["terms", name] = terms
            return
        if name not in members.made:  # once a layout
            members.made[name] = self._rows_of_members(draws, members, name, x)
        members, eps = members.made[name]
        if not len(members.rows):
            return
        a = self.a[name].to(x.dtype)
        z = (x if members.whole else x[members.rows]) @ a.T  # (m, seq, rank)
        if name in self.rows:
            out[members.rows[:, None], :, self.rows[name]] += torch.bmm(z, eps).transpose(1, 2)
        elif members.whole:
            _add_product(out, z, eps)
        else:
            out.index_add_(0, members.rows, torch.bmm(z, eps))

    def noise_bytes(self, pairs: int, element: int, apart: bool = False) -> int:
        drawn = -(-pairs // len(self.slots)) if apart else pairs  # of each linear
        widest = max(count for _, count in self.slots.values())
        device = next(iter(self.a.values())).device
        alone = apart or device.type == "cpu"
        at_once = min(drawn * (widest if alone else self.size), max(AT_ONCE, widest))
        return drawn * self.size * element + at_once * 4 + drawing_bytes(at_once, device)

    def member_bytes(self, element: int, apart: bool = False) -> int:
        return (max(count for _, count in self.slots.values()) if apart else self.size) * element

    def _rows_of_members(
        self, draws: Draws, members: MemberRows, name: str, like: torch.Tensor
    ) -> tuple[MemberRows, torch.Tensor]:
        """The rows whose members move this linear, and each one's own perturbation, (m, rank, kept), with its sign."""
        moving = draws.moving(name, range(draws.pairs))
        pair = members.pair
        if len(moving) < draws.pairs:
            own = (pair % moving.step == moving.start % moving.step).nonzero().flatten()
            pair = (pair[own] - moving.start) // moving.step
            members = replace(members, rows=members.rows[own], pair=pair, sign=members.sign[own], whole=False)
        eps = self._perturbation(draws, moving, name, like)[pair]
        return members, eps.mul_(members.sign.to(like.dtype)[:, None, None])

    def _perturbation(self, draws: Draws, pairs: range, name: str, like: torch.Tensor) -> torch.Tensor:
        """(pairs, rank, kept) in the dtype and on the device of `like`; those of all pairs are made once a step."""
        every = draws.moving(name, range(draws.pairs))
        if name not in draws.made:
            # Where all pairs move all linears, those of all linears are drawn with the first one's.
            self._draw(draws, list(self.slots) if len(every) == draws.pairs else [name], every, like)
        made: torch.Tensor = draws.made[name]
        first = every.index(pairs.start) if pairs else 0
        return made[first : first + len(pairs)]

    def _draw(self, draws: Draws, names: Sequence[str], pairs: range, like: torch.Tensor) -> None:
        shapes = {name: (self.kept(name), len(self.a[name])) for name in names}
        most = 0 if like.device.type == "cpu" else AT_ONCE // max(1, len(pairs))  # a CPU gains nothing by more
        for some in noise.together(shapes, most):
            kept, rank = shapes[some[0]]
            made = like.new_empty(len(some), len(pairs), rank, kept)
            each = max(1, AT_ONCE // max(1, len(some) * kept * rank))
            for first in range(0, len(pairs), each):
                own = pairs[first : first + each]
                eps = draws.draw(some, own, like.device).view(len(some), len(own), kept, rank)
                made[:, first : first + len(own)] = eps.transpose(2, 3)
            draws.made.update(zip(some, made, strict=True))


def _places(draws: Draws, pairs: int, rows: int, device: torch.device) -> fused.Places:
    """The rows of a scoring batch: all of them, pair by pair, plus then minus."""
    key = (pairs, rows)
    if key not in draws.made:
        row = torch.arange(rows, device=device)
        if rows % (2 * pairs):
            raise RuntimeError(f"{rows} rows cannot be laid out as {pairs} pairs")
        member = row // (rows // (2 * pairs))
        draws.made[key] = fused.Places(row, member // 2, (1 - 2 * (member % 2)).to(torch.float32))
    made: fused.Places = draws.made[key]
    return made


def _add_product(out: torch.Tensor, z: torch.Tensor, b: torch.Tensor) -> None:
    """out (n, rows, features) += z (n, rows, rank) @ b (n, rank, features), in place. Of rank 1 it is an outer product,
    for which no matrix routine needs to be set up."""
    if z.shape[-1] == 1:
        out.addcmul_(z, b)
    else:
        out.baddbmm_(z, b)


def rank(delta: Delta) -> int:
    """Input directions a linear, over all parts."""
    return max((a.shape[0] for a, _ in delta.merged.values()), default=0)
