"""How the scores of events and the drift become one fitness."""

from itertools import combinations

import numpy as np
import pytest

from edge_es.fitness import combine, reliability


@pytest.mark.parametrize("where", ["scores", "drift"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_a_fitness(where: str, value: float) -> None:
    raw, drift = np.ones((4, 8)) * np.arange(8), np.arange(8.0)
    (raw[1] if where == "scores" else drift)[3] = value
    assert np.isnan(combine(raw, ["demonstration"] * 4, drift, 0.3).members).all()


def test_drift_weighs_as_its_share_of_what_is_taught() -> None:
    """A nat of drift counts as kl_weight nats of likelihood, and its spread never more than a standard deviation."""
    rng = np.random.default_rng(0)
    raw, drift = rng.normal(size=(8, 32)), rng.normal(size=32)
    kinds = ["demonstration"] * 8
    alone = combine(raw, kinds, None, 1.0).members
    for size, weight, share in ((1e-3, 1.0, 1e-3), (1e-3, 30.0, 0.03), (0.5, 1.0, 0.5), (1e3, 1.0, 1.0)):
        together = combine(raw / np.median(raw.std(1)), kinds, size * drift / drift.std(), weight).members
        np.testing.assert_allclose(
            alone - together, share * (drift - drift.mean()) / drift.std(), rtol=1e-9, atol=1e-12
        )


def z_scores(raw: np.ndarray) -> np.ndarray:
    return np.asarray((raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True))


def test_reliability_is_the_mean_over_all_ways_to_halve_the_events() -> None:
    """Spearman-Brown of the covariance of two halves, averaged over the halvings (Cronbach 1951)."""
    rng = np.random.default_rng(0)
    scores = z_scores(rng.normal(size=(6, 16)) + rng.normal(size=16))
    found = []
    for half in combinations(range(6), 3):
        first, second = scores[list(half)].sum(0), scores[[i for i in range(6) if i not in half]].sum(0)
        found.append(4 * np.cov(first, second, bias=True)[0, 1] / scores.sum(0).var())
    assert reliability(scores) == pytest.approx(np.mean(found))


def test_reliability_of_events_that_agree_and_of_noise() -> None:
    rng = np.random.default_rng(0)
    assert reliability(z_scores(np.tile(rng.normal(size=16), (8, 1)))) == pytest.approx(1.0)
    assert reliability(z_scores(rng.normal(size=(1, 16)))) is None
    noise = [reliability(z_scores(rng.normal(size=(8, 16)))) for _ in range(2000)]
    assert abs(np.mean([one for one in noise if one is not None])) < 0.02
