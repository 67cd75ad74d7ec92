"""Who disagrees with the others, and what is made of it."""

import numpy as np
import pytest

from edge_es import consensus
from edge_es.consensus import NEW, Standing
from edge_es.fitness import combine, zscores


def crowd(honest: int, adverse: int, members: int, seed: int, pull: float = 1.0) -> np.ndarray:
    """Scores of events that share one direction, the adverse ones turned round, with noise of three times its size."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=members)
    sign = np.array([1.0] * honest + [-1.0] * adverse)[:, None]
    return pull * sign * signal + 3 * rng.normal(size=(honest + adverse, members))


def test_agreement_is_the_correlation_with_the_weighted_mean_of_the_others() -> None:
    scores = zscores(crowd(4, 0, 16, 0))
    weights = np.array([1.0, 2.0, 0.5, 0.0])
    others = 2 * scores[1] + 0.5 * scores[2]
    found = consensus.agreement(scores, weights)
    assert found[0] == round(float(np.corrcoef(scores[0], others)[0, 1]), 1)
    assert all(-1 <= one <= 1 for one in found)


def test_ties_and_lonely_events_agree_by_nothing() -> None:
    scores = zscores(np.vstack([np.ones(8), np.arange(8.0)]))
    assert consensus.agreement(scores, np.ones(2)) == [0.0, 0.0]
    assert consensus.agreement(scores[1:], np.ones(1)) == [0.0]


def test_what_contradicts_is_told_from_what_agrees_by_many_looks() -> None:
    """A single look says next to nothing at this noise."""
    ids = [f"honest-{i}" for i in range(12)] + [f"adverse-{i}" for i in range(4)]
    known: dict[str, Standing] = {}
    for seed in range(consensus.LONG):
        scores = zscores(crowd(12, 4, 16, seed))
        doubted = [consensus.doubted(known.get(one, NEW), 0.0) for one in ids]
        found = consensus.agreement(scores, np.where(doubted, consensus.DOUBTED, 1.0))
        known = consensus.after(known, ids, found)
    assert {known[one].looks for one in ids} == {consensus.LONG}
    assert consensus.clipped([known[one] for one in ids], [0.0] * 16, 0.25) == [12, 13, 14, 15]


def test_a_mean_forgets_what_is_long_past() -> None:
    known = {"a": Standing(-0.5, 1000)}
    for _ in range(4 * consensus.LONG):
        known = consensus.after(known, ["a"], [0.3])
    assert known["a"].agreement > 0.25 and known["a"].looks == 1000 + 4 * consensus.LONG
    assert consensus.after({}, ["a", "b"], [0.2, -0.4]) == {"a": Standing(0.2, 1), "b": Standing(-0.4, 1)}


@pytest.mark.parametrize(("share", "expected"), [(0.0, []), (0.2, [1]), (0.4, [1, 3]), (0.99, [1, 3])])
def test_only_the_lowest_ranks_that_contradict_are_clipped(share: float, expected: list[int]) -> None:
    """What members solve contradicts nothing, and what was never looked at is not doubted."""
    standings = [Standing(0.0, 2), Standing(-0.3, 2), NEW, Standing(-0.1, 2), Standing(-0.5, 2)]
    assert consensus.clipped(standings, [0.0, 0.0, 0.0, 0.05, 0.5], share) == expected


def test_a_weight_counts_as_so_many_events_and_0_as_none() -> None:
    raw = crowd(4, 0, 16, 1)
    kinds = ["demonstration"] * 4
    twice = combine(np.vstack([raw, raw[:1]]), [*kinds, "demonstration"], None, 0.0).members
    np.testing.assert_allclose(combine(raw, kinds, None, 0.0, [2, 1, 1, 1]).members, twice)
    without = combine(raw[1:], kinds[1:], None, 0.0)
    weighted = combine(raw, kinds, None, 0.0, [0, 3, 3, 3])
    np.testing.assert_allclose(weighted.members, without.members)
    assert weighted.reliability == pytest.approx(without.reliability) and weighted.tie_rate == 0
    assert combine(raw, kinds, None, 0.0, [1, 1e-30, 0, 0]).reliability is None
    assert not combine(raw, kinds, None, 0.0, [0, 0, 0, 0]).members.any()
