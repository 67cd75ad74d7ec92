"""Shaping, ask and the arithmetic of a step."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_es import noise, strategy
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part

FITNESS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


def side() -> InputSide:
    a = {"x": torch.eye(2, 5), "y": torch.eye(2, 3)}
    return InputSide(a, {"x": 4, "y": 6})


@given(FITNESS)
def test_shaped_fitness_is_centred_and_keeps_the_order(fitness: list[float]) -> None:
    for shape in strategy.SHAPING.values():
        shaped = shape(fitness)
        assert abs(sum(shaped)) < 1e-6 * len(fitness)
        order = sorted(zip(fitness, shaped, strict=True))
        assert all(s <= t for (_, s), (_, t) in pairwise(order))


def test_no_spread_is_no_signal() -> None:
    assert strategy.zscore([1.0, 1.0, 1.0]) == strategy.centred_rank([1.0, 1.0, 1.0]) == [0.0, 0.0, 0.0]
    assert strategy.centred_rank([3.0, 1.0, 2.0]) == [0.5, -0.5, 0.0]


@pytest.mark.parametrize("size", [0, 1, 3])
def test_populations_are_pairs(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        strategy.ask(Delta().with_basis(side()), 0, 0, size, 0.1)


def test_a_step_is_the_weighted_sum_of_its_noise() -> None:
    delta = Delta().with_basis(side())
    shaped = [1.0, -0.5, 0.25, 0.75]
    after = strategy.apply(delta, seed=5, step=9, shaped=shaped, alpha=0.3, guards={})
    weights = [0.3 / 4 * (1.0 + 0.5), 0.3 / 4 * (0.25 - 0.75)]
    for name, (start, count) in side().slots.items():
        eps = noise.noise(5, 9, range(2), name, (count,))
        expected = weights[0] * eps[0] + weights[1] * eps[1]
        assert after.parts[0].b is not None
        torch.testing.assert_close(after.parts[0].b[start : start + count], expected)
    assert delta.parts[0].b is not None and not delta.parts[0].b.any()  # a new delta, the old one as it was


def test_guard_scalars_act_in_their_order() -> None:
    start = Delta((Part(side(), torch.full((side().size,), 2.0)),))
    raw = strategy.raw_step(start, 1, 1, [1.0, -1.0], 1.0)
    after = strategy.apply(start, 1, 1, [1.0, -1.0], 1.0, {"clip": 0.5, "decay": 0.75, "trust": 0.25})
    torch.testing.assert_close(after.parts[0].b, (2.0 * 0.75 + raw * 0.5) * 0.25)


def test_decay_and_trust_reach_frozen_parts() -> None:
    frozen = Part(side(), torch.ones(side().size))
    delta = Delta((frozen, Part(side(), torch.zeros(side().size))))
    after = strategy.apply(delta, 1, 1, [0.0, 0.0], 1.0, {"decay": 0.5, "trust": 0.5})
    assert after.parts[0].b is not None and bool((after.parts[0].b == 0.25).all())


def test_a_random_walk_has_walk_ratio_one() -> None:
    """Noise fitness: norms add like a random walk, whatever the shaping (FIELD: norm is alpha sqrt(d T / N))."""
    wide = InputSide({"x": torch.eye(4, 8)}, {"x": 500})
    delta, squares, g = Delta().with_basis(wide), 0.0, torch.Generator().manual_seed(0)
    for step in range(30):
        shaped = strategy.zscore(torch.randn(16, generator=g).tolist())
        before = delta.parts[0].b
        delta = strategy.apply(delta, 0, step, shaped, 0.1, {})
        assert delta.parts[0].b is not None and before is not None
        squares += float((delta.parts[0].b - before).norm()) ** 2
    assert delta.norm() / math.sqrt(squares) == pytest.approx(1.0, abs=0.05)
    # antithetic pairs: a step's weights are differences of two z-scores, twice the variance, on half as many draws
    assert delta.norm() == pytest.approx(0.1 * math.sqrt(wide.size * 30 / 16), rel=0.1)
