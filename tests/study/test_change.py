"""What is measured of a change: norms, zeros in both precisions, and by kind of layer."""

import math

import pytest
import torch

from edge_es.study.change import Moved, kind_of, measured


def test_norms_and_zeros_are_those_of_the_change() -> None:
    before = torch.ones(4, 4)
    change = torch.zeros(4, 4)
    change[0, 0], change[1, 1], change[2, 2] = 3.0, 5e-5, 5e-7
    other = Moved("model.norm.weight", torch.full((4,), 2.0), torch.full((4,), 4.0))
    found = measured([Moved("model.layers.0.self_attn.q_proj.weight", before, change), other])
    assert found.norm == pytest.approx(math.sqrt(9 + 64), rel=1e-6)
    assert found.relative == pytest.approx(math.sqrt((9 + 64) / (16 + 16)), rel=1e-6)
    assert found.largest == pytest.approx(2.0)
    # bf16 has 8 bits: beside 1 a change of 5e-5 rounds away.
    expected = {"fp32@1e-06": 14 / 16, "fp32@0.0001": 15 / 16, "bf16@1e-06": 15 / 16, "bf16@0.0001": 15 / 16}
    assert found.sparsity["q_proj"] == pytest.approx(expected)
    assert found.sparsity["norm"] == pytest.approx(dict.fromkeys(expected, 0.0))
    assert found.sparsity["all"]["fp32@1e-06"] == pytest.approx(14 / 20)


def test_kinds_are_read_off_names() -> None:
    names = (
        "model.layers.3.mlp.down_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "model.embed_tokens.weight",
    )
    assert [kind_of(name) for name in names] == ["down_proj", "norm", "embed_tokens"]
