"""How long batches may be, by what earlier ones took; and learning's share of a busy device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.pace import FIRST, KNEE, Pace
from service.share import GAP, MOST_SAVED, PATIENCE, SHORT, Share, slice_seconds


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
    allowed = max(limit, KNEE * (overhead + each))
    assert overhead + each * (tokens - 1) <= allowed * 1.05
    assert overhead + each * (tokens + 1) >= limit * 0.8


def test_what_was_learned_of_short_batches_is_there_when_they_must_be_short_again() -> None:
    pace = settled(0.01, 1e-4, limit=0.02)
    short = pace.tokens()
    assert short is not None and 80 <= short <= 105
    pace.limit = 0.2
    for _ in range(40):
        tokens = pace.tokens()
        assert tokens is not None
        pace.took(tokens, 0.01 + 1e-4 * tokens)
    assert 1500 <= (pace.tokens() or 0) <= 2000
    pace.limit = 0.02
    assert pace.tokens() == pytest.approx(short, abs=2)


def test_where_the_shortest_batch_is_too_long_batches_do_some_work_all_the_same() -> None:
    """A large model's pass may last longer than a slice; batches of one token each would be nothing but that."""
    tokens = settled(0.1, 1e-4, limit=0.02).tokens()
    assert tokens is not None and 500 <= tokens <= 1100


def test_a_large_batch_that_was_slow_once_is_tried_again() -> None:
    pace = Pace(0.02)
    pace.took(256, 0.005)
    pace.took(1000, 1.0)
    for _ in range(400):
        tokens = pace.tokens()
        assert tokens is not None
        pace.took(tokens, 1e-5 * tokens)
    assert (pace.tokens() or 0) > 1500


def test_without_a_limit_nothing_is_bounded_or_learned() -> None:
    pace = Pace()
    pace.took(100, 1.0)
    assert pace.tokens() is None and not pace.seconds


def test_the_first_batch_is_small_and_a_slow_one_shortens_the_next() -> None:
    pace = Pace(0.02)
    assert pace.tokens() == FIRST
    pace.took(FIRST, 0.2)
    assert pace.tokens() == pytest.approx(FIRST / 10, abs=1)
    pace.took(1, 0.002)  # the last text of a suite: its overhead is not what a token of 20 costs
    assert 10 <= (pace.tokens() or 0) <= FIRST / 10


def test_a_batch_of_one_token_is_always_allowed() -> None:
    pace = Pace(0.02)
    pace.took(10, 10.0)
    assert pace.tokens() == 1  # nothing smaller was tried: how much of the ten seconds is overhead is not known


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


@given(st.floats(0, 1e6), st.floats(0.001, 5))
def test_a_slice_grows_with_the_time_in_which_nobody_asked(quiet: float, longest: float) -> None:
    seconds = slice_seconds(quiet, longest)
    assert seconds <= longest and seconds <= max(GAP, PATIENCE * quiet)
    assert seconds >= min(longest, GAP) and slice_seconds(quiet + 1, longest) >= seconds
    assert slice_seconds(None, longest) == min(longest, SHORT)


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
