import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import GatesSection
from edge_es.evidence import PRIOR, PRIOR_LOOKS, RECENT, Evidence

LIMIT = GatesSection().min_reliability


@given(st.lists(st.floats(-1, 1), max_size=16))
def test_the_first_looks_and_the_prior_have_one_mean(looks: list[float]) -> None:
    evidence = Evidence()
    for look in looks:
        evidence = evidence.after(look)
    assert evidence.looks == len(looks)
    assert evidence.mean == pytest.approx((PRIOR_LOOKS * PRIOR + sum(looks)) / (PRIOR_LOOKS + len(looks)))
    assert (evidence.measured is None) == (not looks)


def test_later_looks_count_alike_and_what_is_not_measured_not_at_all() -> None:
    old = Evidence(0.2, 1000)
    assert old.after(1.0).mean == pytest.approx(0.2 + RECENT * 0.8)
    assert old.after(None) == old


def test_under_noise_the_gate_closes_after_a_few_steps_and_under_a_signal_it_stays_open() -> None:
    """Looks with the mean and scatter that were measured on both streams, many runs of 100 steps each."""
    rng = np.random.default_rng(0)
    taken = {}
    for kind, mean, scatter in (("noise", 0.005, 0.204), ("honest", 0.141, 0.177)):
        runs = rng.normal(mean, scatter, (500, 100))
        counts = []
        for looks in runs:
            evidence, count = Evidence(), 0
            for look in looks:
                evidence = evidence.after(look)
                count += evidence.mean >= LIMIT
            counts.append(count)
        taken[kind] = float(np.mean(counts))
    assert taken["noise"] < 10 and taken["honest"] > 93
