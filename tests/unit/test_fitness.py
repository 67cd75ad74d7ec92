"""How the scores of events and the drift become one fitness."""

import numpy as np

from edge_es.fitness import combine


def test_drift_weighs_as_much_as_what_is_taught() -> None:
    """A nat of drift counts as a nat of likelihood, and never more than a standard deviation."""
    rng = np.random.default_rng(0)
    raw, drift = rng.normal(size=(8, 32)), rng.normal(size=32)
    alone = combine(raw, ["demonstration"] * 8, None, 1.0).members
    for size, share in ((1e-3, 1e-3), (0.5, 0.5), (1e3, 1.0)):
        together = combine(raw / np.median(raw.std(1)), ["demonstration"] * 8, size * drift / drift.std(), 1.0).members
        np.testing.assert_allclose(
            alone - together, share * (drift - drift.mean()) / drift.std(), rtol=1e-9, atol=1e-12
        )
