import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import GatesSection
from edge_es.evidence import GIVEN_UP, LEAST, MOST, PRIOR, PRIOR_LOOKS, RECENT, WANTED, WINDOW, Evidence

LIMIT = GatesSection().min_reliability


def told(looks: list[float]) -> Evidence:
    evidence = Evidence()
    for look in looks:
        evidence = evidence.after(look, 32)
    return evidence


@given(st.lists(st.floats(-1, 1), max_size=18))
def test_the_first_looks_and_the_prior_have_one_mean(looks: list[float]) -> None:
    evidence = told(looks)
    assert evidence.looks == len(looks)
    assert evidence.mean == pytest.approx((PRIOR_LOOKS * PRIOR + sum(looks)) / (PRIOR_LOOKS + len(looks)))


def test_later_looks_count_alike_and_what_is_not_measured_not_at_all() -> None:
    old = Evidence(0.2, 1000)
    assert old.after(1.0, 32).mean == pytest.approx(0.2 + RECENT * 0.8)
    assert old.after(None, 32) == old


@given(st.lists(st.floats(-1, 1), max_size=2 * WINDOW), st.floats(-1, 1))
def test_the_sum_is_bounded_and_looks_back_so_far(looks: list[float], limit: float) -> None:
    evidence = told(looks)
    assert LEAST <= evidence.total(limit) <= MOST
    assert evidence.total(limit) == told(looks[-WINDOW:]).total(limit)
    assert evidence.total(-1.0) > 0, "the gate is off"


def test_under_noise_the_gate_closes_soon_and_under_a_signal_it_stays_open() -> None:
    """Looks with the mean and scatter that were measured on both streams, many runs."""
    rng = np.random.default_rng(0)
    open_share = {}
    for kind, mean, scatter, steps in (("noise", 0.005, 0.204, 400), ("honest", 0.141, 0.177, 100)):
        runs = []
        for looks in rng.normal(mean, scatter, (20, steps)):
            evidence, count = Evidence(), 0
            for look in looks:
                evidence = evidence.after(look, 32)
                count += evidence.total(LIMIT) > 0
            runs.append(count / steps)
        open_share[kind] = float(np.mean(runs))
    assert open_share["noise"] < 0.02 and open_share["honest"] > 0.85


def test_steps_are_as_long_as_the_evidence_is_strong() -> None:
    new = Evidence()
    assert 0 < new.trust(0.1) < 0.2
    sure = new
    for _ in range(4):
        sure = sure.after(0.5, 32)
    assert sure.trust(0.1) == 1.0
    fading = [sure := sure.after(-0.2, 32) for _ in range(9)]
    assert [one.trust(0.1) for one in fading] == sorted((one.trust(0.1) for one in fading), reverse=True)
    assert fading[-1].trust(0.1) == 0.0 and fading[-1].total(0.1) < 0
    assert new.trust(-1.0) == fading[-1].trust(-1.0) == 1.0, "who lets every batch pass wants steps of full length"


@pytest.mark.parametrize(("of_one", "size"), [(0.05, 32), (0.0075, 32), (0.006, 64), (0.003, 128), (0.0005, 256)])
def test_batches_are_as_large_as_it_takes_to_be_reliable(of_one: float, size: int) -> None:
    """By Spearman and Brown: of_one is the odds of a single event's reliability."""
    evidence, batch = Evidence(), 32
    sizes = []
    for _ in range(200):
        sizes.append(batch := evidence.batch(32, 256, LIMIT - 0.1))
        odds = of_one * batch
        evidence = evidence.after(odds / (1 + odds), batch)
    assert sizes[0] == 32 and set(sizes[60:]) == {size}
    reliability = size * of_one / (1 + size * of_one)
    assert reliability > WANTED / 2 or size == 256


def test_what_has_no_signal_is_looked_at_in_small_batches_again() -> None:
    evidence = Evidence()
    grown = []
    while evidence.total(LIMIT) > GIVEN_UP:
        evidence = evidence.after(0.0, 32)
        grown.append(evidence.batch(32, 256, LIMIT))
    assert max(grown) > 32 and grown[-1] == 32
    assert [evidence.batch(least, 256, LIMIT) for least in (1, 300)] == [1, 300]


@given(st.lists(st.floats(-1, 1), max_size=60), st.integers(1, 64), st.integers(1, 512))
def test_a_batch_is_within_its_bounds(looks: list[float], least: int, most: int) -> None:
    evidence = Evidence()
    for look in looks:
        size = evidence.batch(least, most, LIMIT)
        assert least <= size <= max(least, most)
        evidence = evidence.after(look, size)
