"""How the scores of events and the drift become one fitness."""

import numpy as np
import pytest

from edge_es.fitness import combine


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
