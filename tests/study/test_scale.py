"""The scale of a known loss, and the interval of a share."""

import pytest

from edge_es.study.scale import Level, scale_for
from edge_es.study.shares import wilson

LEVELS = (Level(100, 2.0), Level(1000, 1.2), Level(5000, 1.08))


@pytest.mark.parametrize("start", [0.01, 1.0, 300.0])
def test_the_loss_at_the_last_level_is_as_wanted(start: float) -> None:
    asked: list[tuple[float, int]] = []

    def loss(scale: float, items: int) -> float:
        asked.append((scale, items))
        return 0.03 * (scale / 7) ** 3 + (0.008 if items == 100 else 0.0)  # few items mislead

    found = scale_for(loss, (0.025, 0.035), LEVELS, start)
    assert found is not None and 0.025 <= found[1] <= 0.035 and asked[-1] == (found[0], 5000)
    assert sum(items == 5000 for _, items in asked) <= 3


def test_a_loss_that_leaps_is_given_up() -> None:
    asked: list[float] = []

    def leaps(scale: float, items: int) -> float:
        asked.append(scale)
        return float(scale > 3)

    assert scale_for(leaps, (0.025, 0.035), LEVELS, looks=12) is None and len(asked) == 12


def test_wilson() -> None:
    """As tabulated by Newcombe, Statistics in Medicine 17 (1998): 0 of 20 and 15 of 148."""
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    low, high = wilson(100, 100)
    assert low == pytest.approx(0.963, abs=1e-3) and high == pytest.approx(1.0)
    with pytest.raises(ValueError):
        wilson(0, 0)
