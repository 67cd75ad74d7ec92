"""The low-rank terms of one linear on a GPU, version's and members' together, in one kernel.

Each row of a batch reads its input once, and its output is read and written once, whatever the number of terms. By
torch's own operations a term is three to five kernels, which is what a member's answer costs more than a plain one:
at one token a row a GPU waits for the next launch most of the time. Sums are in fp32, in a fixed order that hangs on
nothing but the row, so that a row is the same in every batch.

Triton comes with torch for CUDA; where it is not there, torch's own operations do the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

MOST = 4  # input directions up to which this pays; beyond it matrix products do better


@dataclass(frozen=True)
class Places:
    """rows: (m,) int64, the rows of a batch that are members'; pair: (m,) int64, theirs; sign: (m,) fp32."""

    rows: torch.Tensor
    pair: torch.Tensor
    sign: torch.Tensor


@dataclass(frozen=True)
class Members:
    """side: (rank, in) fp32. eps: (pairs, rank, features), sigma * noise."""

    side: torch.Tensor
    eps: torch.Tensor
    places: Places


def runs(x: torch.Tensor, out: torch.Tensor, side: torch.Tensor) -> bool:
    """Whether a term of this input side, (rank, in), is for this kernel."""
    return x.is_cuda and len(side) <= MOST and out.is_contiguous() and _kernel() is not None


def add(
    x: torch.Tensor, out: torch.Tensor, change: tuple[torch.Tensor, torch.Tensor] | None, members: Members | None
) -> None:
    """out (rows, seq, features), contiguous, += B A x of `change`, A (R, in) and B (R, features) fp32, in every row;
    and += each member's term in its rows, which are all rows where there is a change, too. In place."""
    assert change is None or members is None or len(members.places.rows) == len(out)
    launch = _kernel()
    assert launch is not None
    launch(x.contiguous(), out, change, members)


@cache
def _kernel() -> Callable[..., None] | None:
    """None where there is no Triton."""
    try:
        import triton
        import triton.language as tl
    except ImportError:
        return None

    @triton.jit  # type: ignore[untyped-decorator]
    def kernel(  # type: ignore[no-untyped-def]
        x, out, a, b, side, eps, rows, pair, sign, seq, size_in, size_out,
        OWN: tl.constexpr, RANK: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr,
    ):  # fmt: skip
        token = tl.program_id(0)
        member = token // seq
        at = token.to(tl.int64)
        if RANK:
            at = tl.load(rows + member) * seq + (token - member * seq)
        i, o = tl.arange(0, IN), tl.arange(0, OUT)
        read = tl.load(x + at * size_in + i, mask=i < size_in, other=0.0).to(tl.float32)
        total = tl.load(out + at * size_out + o, mask=o < size_out, other=0.0).to(tl.float32)
        for k in tl.static_range(OWN):
            z = tl.sum(read * tl.load(a + k * size_in + i, mask=i < size_in, other=0.0), axis=0)
            total += z * tl.load(b + k * size_out + o, mask=o < size_out, other=0.0)
        if RANK:
            first = tl.load(pair + member) * RANK
            plus = tl.load(sign + member)
            for k in tl.static_range(RANK):
                z = plus * tl.sum(read * tl.load(side + k * size_in + i, mask=i < size_in, other=0.0), axis=0)
                noise = tl.load(eps + (first + k) * size_out + o, mask=o < size_out, other=0.0)
                total += z * noise.to(tl.float32)
        tl.store(out + at * size_out + o, total.to(out.dtype.element_ty), mask=o < size_out)

    def launch(
        x: torch.Tensor, out: torch.Tensor, change: tuple[torch.Tensor, torch.Tensor] | None, members: Members | None
    ) -> None:
        seq, size_in, size_out = x.shape[-2], x.shape[-1], out.shape[-1]
        a, b = change if change is not None else (x, x)  # not read
        own, rank, count = (len(a) if change is not None else 0), 0, out.shape[0]
        some: tuple[Any, ...] = (x, x, x, x, x)
        if members is not None:
            at = members.places
            some = (members.side, members.eps, at.rows, at.pair, at.sign)
            rank, count = len(members.side), len(at.rows)
        wide_in, wide_out = triton.next_power_of_2(size_in), triton.next_power_of_2(size_out)
        kernel[(count * seq,)](
            x, out, a, b, *some, seq, size_in, size_out, own, rank, wide_in, wide_out,
            num_warps=_warps(max(wide_in, wide_out)),
        )  # fmt: skip

    return launch


def _warps(width: int) -> int:
    """So that a thread holds a few dozen numbers at most."""
    return 4 if width <= 2048 else 8 if width <= 8192 else 16
