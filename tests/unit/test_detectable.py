"""The smallest drop that a suite shows agrees with the verdict; suites that guard little are told of."""

import numpy as np
import pytest

from edge_es.probes.detectable import smallest_drop, warnings
from edge_es.probes.verdicts import ItemScores, judge


def judged(anchor: np.ndarray, lost: int) -> str:
    """The verdict where so many right items are lost, evenly."""
    right = np.flatnonzero(anchor)
    now = anchor.copy()
    now[right[np.linspace(0, len(right) - 1, lost).astype(int)]] = 0.0
    rows = judge(1, "s", ItemScores("generation", now.tolist()), {"s": anchor.tolist()}, "t")
    return rows[0].verdict


def test_four_hundred_items_show_a_loss_of_three_percent() -> None:
    found = smallest_drop(np.ones(400))
    assert found.lost == 13 and found.drop == pytest.approx(13 / 400)  # 6 in each half are not significant in any


@pytest.mark.parametrize(("items", "right"), [(400, 400), (200, 150), (100, 60)])
def test_what_it_says_is_what_the_verdict_does(items: int, right: int) -> None:
    anchor = (np.arange(items) * right % items < right).astype(float)
    found = smallest_drop(anchor)
    assert found.lost is not None
    assert judged(anchor, max(0, found.lost - 3)) != "dropped"
    assert judged(anchor, found.lost + 6) == "dropped"


def test_a_handful_of_items_shows_nothing() -> None:
    assert smallest_drop(np.ones(6)).lost is None
    assert smallest_drop(np.zeros(400)).lost is None
    (told,) = warnings("generation", [1.0, 0.0] * 3)
    assert "too few" in told


def test_warnings_name_what_is_wrong() -> None:
    good = ([1.0] * 9 + [0.0]) * 40
    assert warnings("generation", good) == [] == warnings("choice", good)
    assert "only 0.10" in warnings("generation", [1.0 - one for one in good])[0]
    assert "harder items" in warnings("generation", [1.0] * 400)[0] and not warnings("choice", [1.0] * 400)
    assert "items are few" in warnings("generation", ([1.0] * 9 + [0.0]) * 4)[0]
    assert "kl" in warnings("kl", [0.0] * 400)[0]
    assert warnings("perplexity", [1.5] * 100) == [] and "few" in warnings("perplexity", [1.5] * 4)[0]
    assert warnings("generation", [0.5] * 100) == [] and "graded" in warnings("generation", [0.5] * 5)[0]
