"""Members whose change of a weight has its full size: built one linear and one member at a time, never stored.

An antithetic pair shares one such change: the plus rows add it, the minus rows take it away. What is added is a term
of the output; the weight itself is not touched.
"""

from collections.abc import Callable

import torch

from edge_es.spaces.basis import Draws, MemberRows

Build = Callable[[torch.Tensor], torch.Tensor]
"""A member's coordinates of one linear (count,), sigma * noise, to the change of its weight (out, in)."""


def add_pairs(draws: Draws, pairs: range, name: str, x: torch.Tensor, out: torch.Tensor, build: Build) -> None:
    """`Basis.add_pairs` by way of each member's whole change; x (rows, seq, in), out (rows, seq, features)."""
    x_of = x.view(len(pairs), 2, -1, x.shape[-1])
    out_of = out.view(len(pairs), 2, -1, out.shape[-1])
    for pair in draws.moving(name, pairs):
        at = pair - pairs.start
        change = build(draws.draw([name], range(pair, pair + 1), x.device)[0, 0]).to(x.dtype).T
        out_of[at, 0].addmm_(x_of[at, 0], change)
        out_of[at, 1].addmm_(x_of[at, 1], change, alpha=-1)


def add_members(draws: Draws, members: MemberRows, name: str, x: torch.Tensor, out: torch.Tensor, build: Build) -> None:
    """`Basis.add_members` by way of each pair's whole change; x (rows, seq, in), out (rows, seq, features)."""
    moving = draws.moving(name, range(draws.pairs))
    for pair in members.pair.unique().tolist():
        if pair not in moving:
            continue
        own = members.pair == pair
        rows, sign = members.rows[own], members.sign[own].to(x.dtype)
        change = build(draws.draw([name], range(pair, pair + 1), x.device)[0, 0]).to(x.dtype).T
        out.index_add_(0, rows, (x[rows] * sign[:, None, None]) @ change)
