"""Merges the parts of an adapter delta into one of a rank budget, with the loss stated.

Per layer the sum of B A over parts is factored by QR and a small SVD (Eckart-Young: no better approximation of that
rank in Frobenius norm exists). The result has an orthonormal input side again.
"""

import math

import torch

from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part


def consolidate(delta: Delta, rank: int) -> tuple[Delta, float]:
    """(one part of `rank` directions a layer, norm of what was lost over the norm of the delta)."""
    sides_before = [part.basis for part in delta.parts if isinstance(part.basis, InputSide)]
    outs: dict[str, int] = {name: out for side in sides_before for name, out in side.outs.items()}
    sides: dict[str, torch.Tensor] = {}
    output: list[torch.Tensor] = []
    lost = whole = 0.0
    for name, (a, b) in delta.merged.items():
        q, t = torch.linalg.qr(a.double().T)  # a.T = q t; q (in, R)
        u, s, vh = torch.linalg.svd(b.double().T @ t.T, full_matrices=False)  # (out, R)
        keep = min(rank, len(s))
        side = a.new_zeros(rank, a.shape[1])
        side[:keep] = (vh[:keep] @ q.T).float()
        b_new = b.new_zeros(outs[name], rank)
        b_new[:, :keep] = (u[:, :keep] * s[:keep]).float()
        sides[name] = side
        output.append(b_new.flatten())
        lost += float(s[keep:].square().sum())
        whole += float(s.square().sum())
    names = {name: outs[name] for name in delta.merged}
    return Delta((Part(InputSide(sides, names), torch.cat(output)),)), math.sqrt(lost / whole) if whole else 0.0
