"""How long batches may be, by what earlier ones took; and learning's share of a busy device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.pace import FIRST, Pace
from service.share import MOST_SAVED, Share


def settled(overhead: float, each: float, limit: float, batches: int = 400) -> Pace:
    """On a device where a batch takes `overhead` seconds and `each` more a token."""
    pace = Pace(limit)
    for _ in range(batches):
        tokens = pace.tokens()
        assert tokens is not None
        pace.took(tokens, overhead + each * tokens)
    return pace


@given(overhead=st.floats(0, 0.012), each=st.floats(1e-6, 1e-3), limit=st.floats(0.015, 0.1))
def test_batches_come_to_last_as_long_as_they_may(overhead: float, each: float, limit: float) -> None:
    tokens = settled(overhead, each, limit).tokens()
    assert tokens is not None
    assert overhead + each * (tokens - 1) <= limit * 1.05
    assert overhead + each * (tokens + 1) >= limit * 0.8


def test_without_a_limit_nothing_is_bounded_or_learned() -> None:
    pace = Pace()
    pace.took(100, 1.0)
    assert pace.tokens() is None and pace.seconds is None


def test_the_first_batch_is_small_and_a_slow_one_shortens_the_next() -> None:
    pace = Pace(0.02)
    assert pace.tokens() == FIRST
    pace.took(FIRST, 0.2)
    assert pace.tokens() == pytest.approx(FIRST / 10, abs=1)
    pace.took(1, 0.001)  # the last text of a suite: its overhead is not what a token costs
    assert pace.tokens() == pytest.approx(FIRST / 10, abs=1)


def test_a_batch_of_one_token_is_always_allowed() -> None:
    pace = Pace(0.02)
    pace.took(10, 10.0)
    assert pace.tokens() == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.05)), max_size=200), st.floats(1, 3))
def test_learning_never_takes_more_than_its_share(turns: list[tuple[bool, float]], slowdown: float) -> None:
    """Over any stretch from the start: slices took (slowdown - 1) of serving's time, and the last slice's overrun."""
    share, serving, learning = Share(slowdown, 0.02), 0.0, 0.0
    for _, seconds in turns:
        share.served(seconds)
        serving += seconds
        if share.admits():
            assert learning + share.slice_seconds <= (slowdown - 1) * serving + 1e-9
            share.learned(share.slice_seconds)
            learning += share.slice_seconds
    assert share.credit <= MOST_SAVED * share.slice_seconds + 1e-12


def test_a_slice_that_overran_is_paid_for_before_the_next() -> None:
    share = Share(1.5, 0.02)
    share.served(0.04)
    assert share.admits()
    share.learned(0.1)
    for _ in range(4):
        share.served(0.04)
        assert not share.admits()
    share.served(0.04)
    assert share.admits()


def test_with_no_slowdown_allowed_learning_waits_for_gaps() -> None:
    share = Share(1.0, 0.02)
    share.served(100.0)
    assert not share.admits()
