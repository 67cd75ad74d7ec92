"""The kernel against torch's own operations: every layout, rank and width, with and without a version's own term."""

from unittest import mock

import pytest
import torch

from edge_es.sidechannel import Member, MixedRows, PopulationRows
from edge_es.spaces import fused
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part
from edge_es.strategy import ask

PAIRS, ITEMS, SEQ = 3, 2, 5
NAME = "one"


def delta_of(width: int, features: int, ranks: list[int]) -> Delta:
    g = torch.Generator().manual_seed(width + features)
    parts = []
    for rank in ranks:
        side = InputSide({NAME: torch.randn(rank, width, generator=g)}, {NAME: features})
        parts.append(Part(side, torch.randn(side.size, generator=g)))
    return Delta(tuple(parts)).to("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "features"), [(64, 64), (100, 70), (2048, 512), (14336, 4096)])
@pytest.mark.parametrize("ranks", [[1], [2], [1, 1], [4, 3], [9, 2]])
@pytest.mark.parametrize("layout", ["population", "members", "mixed", "version"])
def test_the_kernel_is_what_torch_does(
    dtype: torch.dtype, width: int, features: int, ranks: list[int], layout: str
) -> None:
    delta = delta_of(width, features, ranks)
    population = ask(delta, 1, 2, 2 * PAIRS, 0.5)
    members = [Member(delta, population, p, s) for p in range(PAIRS) for s in (1, -1) for _ in range(ITEMS)]
    x = torch.randn(len(members), SEQ, width, device="cuda").to(dtype)
    before = torch.randn(len(members), SEQ, features, device="cuda").to(dtype)

    def made(by_kernel: bool, of: torch.dtype) -> torch.Tensor:
        population.made.clear()
        rows = {
            "population": lambda: PopulationRows(delta, population, range(PAIRS)),
            "members": lambda: MixedRows(members, x.device),
            "mixed": lambda: MixedRows([delta, Delta(), *members[2:]], x.device),
            "version": lambda: MixedRows([delta] * len(members), x.device),
        }[layout]()
        out = before.to(of, copy=True)
        with mock.patch.object(fused, "runs", fused.runs if by_kernel else lambda *_: False):
            rows.add(NAME, None, x.to(of), out)
        return out.float()

    assert fused.runs(x, before, torch.zeros(1, 1)), "there is no Triton"
    expected = made(False, torch.float32)
    assert not torch.equal(expected, before.float())
    by_torch, by_kernel = made(False, dtype), made(True, dtype)
    error, allowed = (by_kernel - expected).norm(), (by_torch - expected).norm()
    assert error <= max(2 * allowed, 1e-5 * expected.norm())  # sums are in fp32 here, and there in `dtype`
