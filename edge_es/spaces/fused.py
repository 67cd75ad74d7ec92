"""The low-rank terms of one linear on a GPU, version's and members' together, in one kernel.

Each row of a batch reads its input once, and its output is read and written once, whatever the number of terms. By
torch's own operations a term is three to five kernels, which is what a member's answer costs more than a plain one:
at one token a row a GPU waits for the next launch most of the time. Sums are in fp32, in a fixed order that hangs on
nothing but the row, so that a row is the same in every batch.

Triton comes with torch for CUDA, and needs a C compiler; without either, torch's own operations do the same.
"""

import logging
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

log = logging.getLogger(__name__)

MOST = 4  # input directions up to which this pays; beyond it matrix products do better
ALIGNED = 16  # bytes; what lies so is read in wider pieces, by code that is compiled for it

Change = tuple[torch.Tensor, torch.Tensor]  # A (R, in) and B (R, features), fp32


@dataclass(frozen=True)
class Places:
    """rows: (m,) int64, the rows of a batch that are members'; pair: (m,) int64, theirs; sign: (m,) fp32."""

    rows: torch.Tensor
    pair: torch.Tensor
    sign: torch.Tensor


@dataclass(frozen=True)
class Terms:
    """What is added in one linear. pointers: a, b, side, eps, rows, pair, sign. own, rank: directions of the version's
    term and of a member's; 0: there is none. members: rows that are members'."""

    pointers: tuple[torch.Tensor, ...]
    own: int
    rank: int
    members: int
    aligned: bool


def runs(x: torch.Tensor, out: torch.Tensor, side: torch.Tensor) -> bool:
    """Whether a term of this input side, (rank, in), is for this kernel."""
    return x.is_cuda and len(side) <= MOST and out.is_contiguous() and _kernel() is not None


def of_version(change: Change) -> Terms:
    """B A x in every row."""
    a, b = change
    return _terms((a, b, a, b, a, a, a), len(a), 0, 0)


def of_members(change: Change | None, side: torch.Tensor, eps: torch.Tensor, places: Places) -> Terms:
    """The terms of members, side (rank, in) fp32 and eps (pairs, rank, features), sigma * noise, in their rows; and
    B A x, which takes that all rows are members'."""
    a, b = change if change is not None else (side, side)  # not read
    pointers = (a, b, side, eps, places.rows, places.pair, places.sign)
    return _terms(pointers, len(a) if change is not None else 0, len(side), len(places.rows))


def add(terms: Terms, x: torch.Tensor, out: torch.Tensor) -> None:
    """out (rows, seq, features), contiguous, += the terms of x (rows, seq, in), in place."""
    launch = _kernel()
    assert launch is not None
    launch(terms, x.contiguous(), out)


def _terms(pointers: tuple[torch.Tensor, ...], own: int, rank: int, members: int) -> Terms:
    return Terms(pointers, own, rank, members, all(_aligned(tensor) for tensor in pointers))


def _aligned(tensor: torch.Tensor) -> bool:
    return tensor.data_ptr() % ALIGNED == 0


@cache
def _kernel() -> Callable[[Terms, torch.Tensor, torch.Tensor], None] | None:
    """None where there is no Triton, or nothing that it could compile with; tried once."""
    launch = _compiler()
    if launch is None or not torch.cuda.is_available():
        return launch
    one = torch.ones(1, 16, device="cuda")
    try:
        launch(of_version((one, one)), one[None], torch.zeros(1, 1, 16, device="cuda"))
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        log.warning("no kernel of our own on this GPU, torch's operations are taken; Triton says: %s", error)
        return None
    return launch


def _compiler() -> Callable[[Terms, torch.Tensor, torch.Tensor], None] | None:
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

    # Triton's own look-up of what it has compiled takes longer than a launch: what is the same in all that it goes by
    # (sizes, types, alignment) is launched directly.
    compiled: dict[tuple[Any, ...], Any] = {}

    def launch(terms: Terms, x: torch.Tensor, out: torch.Tensor) -> None:
        seq, size_in, size_out = x.shape[-2], x.shape[-1], out.shape[-1]
        tokens = (terms.members if terms.rank else len(x)) * seq
        aligned = terms.aligned and _aligned(x) and _aligned(out)
        key = (x.dtype, x.device, terms.own, terms.rank, seq, size_in, size_out, terms.pointers[3].dtype)
        wide_in, wide_out = triton.next_power_of_2(size_in), triton.next_power_of_2(size_out)
        arguments = (
            x, out, *terms.pointers, seq, size_in, size_out, terms.own, terms.rank, wide_in, wide_out
        )  # fmt: skip
        known = compiled.get(key) if aligned else None
        if known is not None:
            known[(tokens, 1, 1)](*arguments)
            return
        made = kernel[(tokens,)](*arguments, num_warps=_warps(max(wide_in, wide_out)))
        if aligned:
            compiled[key] = made

    return launch


def _warps(width: int) -> int:
    """So that a thread holds a few dozen numbers at most."""
    return 4 if width <= 2048 else 8 if width <= 8192 else 16
