import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import GatesSection
from edge_es.evidence import LEAST, MOST, PRIOR, PRIOR_LOOKS, RECENT, WINDOW, Evidence

LIMIT = GatesSection().min_reliability


def told(looks: list[float]) -> Evidence:
    evidence = Evidence()
    for look in looks:
        evidence = evidence.after(look)
    return evidence


@given(st.lists(st.floats(-1, 1), max_size=18))
def test_the_first_looks_and_the_prior_have_one_mean(looks: list[float]) -> None:
    evidence = told(looks)
    assert evidence.looks == len(looks)
    assert evidence.mean == pytest.approx((PRIOR_LOOKS * PRIOR + sum(looks)) / (PRIOR_LOOKS + len(looks)))


def test_later_looks_count_alike_and_what_is_not_measured_not_at_all() -> None:
    old = Evidence(0.2, 1000)
    assert old.after(1.0).mean == pytest.approx(0.2 + RECENT * 0.8)
    assert old.after(None) == old


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
                evidence = evidence.after(look)
                count += evidence.total(LIMIT) > 0
            runs.append(count / steps)
        open_share[kind] = float(np.mean(runs))
    assert open_share["noise"] < 0.02 and open_share["honest"] > 0.85


def test_steps_are_as_long_as_the_evidence_is_strong() -> None:
    new = Evidence()
    assert 0 < new.trust(0.1) < 0.2
    sure = new
    for _ in range(4):
        sure = sure.after(0.5)
    assert sure.trust(0.1) == 1.0
    fading = [sure := sure.after(-0.2) for _ in range(9)]
    assert [one.trust(0.1) for one in fading] == sorted((one.trust(0.1) for one in fading), reverse=True)
    assert fading[-1].trust(0.1) == 0.0 and fading[-1].total(0.1) < 0
    assert new.trust(-1.0) == fading[-1].trust(-1.0) == 1.0, "who lets every batch pass wants steps of full length"
