"""Verdicts: a real fall is dropped, a flip or two never, each suite by itself."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_es.probes.verdicts import ItemScores, Limits, SuiteResult, is_dropped, judge

AT = "2026-01-01T00:00:00Z"


def verdict(now: np.ndarray, reference: np.ndarray, kind: str = "generation", lower: bool = False) -> SuiteResult:
    scores = ItemScores(kind, now.astype(float).tolist(), lower)
    return judge(7, "add", scores, {"add": reference.astype(float).tolist()}, AT)[0]


def flipped(rng: np.random.Generator, items: int, right: int, lost: int, won: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """0/1 scores of the reference with `right` of `items` right, and the same with some lost and won at random."""
    reference = np.zeros(items)
    reference[rng.permutation(items)[:right]] = 1
    now = reference.copy()
    now[rng.permutation(np.flatnonzero(reference == 1))[:lost]] = 0
    now[rng.permutation(np.flatnonzero(reference == 0))[:won]] = 1
    return now, reference


@pytest.mark.parametrize("right", [396, 400])
def test_a_suite_that_falls_under_95_percent_is_dropped(right: int) -> None:
    """From 0.99 (or 1.00) to just under 0.95 on 400 items: at the least 17 are lost, wherever they lie."""
    rng = np.random.default_rng(0)
    fell = [verdict(*flipped(rng, 400, right, right - 379)) for _ in range(1000)]
    assert all(one.score < 0.95 for one in fell)
    assert sum(one.verdict == "dropped" for one in fell) >= 997


def test_a_fall_to_90_percent_is_dropped_even_with_items_won() -> None:
    rng = np.random.default_rng(1)
    assert all(verdict(*flipped(rng, 400, 392, 36, 4)).verdict == "dropped" for _ in range(500))


def test_five_points_on_400_items_are_found() -> None:
    """Power where lost and won items are drawn: from 0.97 on the average to 0.92, one item in fifty won back."""
    rng, found = np.random.default_rng(2), 0
    for _ in range(400):
        reference = rng.random(400) < 0.97
        now = np.where(reference, rng.random(400) >= 0.0522, rng.random(400) < 0.02)
        found += verdict(now, reference).verdict == "dropped"
    assert found / 400 > 0.9


@settings(deadline=None, max_examples=200)
@given(
    items=st.integers(1, 450),
    right=st.floats(0, 1),
    lost=st.integers(0, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_or_two_flipped_items_are_never_dropped(items: int, right: float, lost: int, seed: int) -> None:
    now, reference = flipped(np.random.default_rng(seed), items, round(right * items), lost)
    one = verdict(now, reference)
    assert one.verdict != "dropped"
    if items >= 400 and reference.mean() > 0.5:
        assert one.verdict == "kept"


@pytest.mark.parametrize(("level", "churn"), [(0.98, 0.02), (0.9, 0.1), (0.5, 0.6)])
def test_false_alarms_without_any_change_of_ability(level: float, churn: float) -> None:
    rng, alarms, rounds = np.random.default_rng(3), 0, 4000
    for _ in range(rounds):
        reference = rng.random(400) < level
        now = np.where(rng.random(400) < churn, rng.random(400) < level, reference)
        alarms += verdict(now, reference).verdict == "dropped"
    assert alarms / rounds < 0.002  # at most 6 in 10,000 expected


def test_a_drop_on_one_half_alone_is_suspect() -> None:
    from edge_es.probes.statistics import first_half

    reference = np.ones(400)
    now = reference.copy()
    now[np.flatnonzero(first_half(400))[:40]] = 0
    one = verdict(now, reference)
    assert one.retention == 0.9
    assert one.verdict == "suspect"
    now[np.flatnonzero(~first_half(400))[:2]] = 0
    assert verdict(now, reference).verdict == "dropped"


def test_a_sure_drop_within_the_tolerance_is_kept() -> None:
    rng = np.random.default_rng(4)
    reference = rng.gamma(4, 0.4, 400)
    now = reference * rng.normal(1.01, 0.005, 400)
    assert is_dropped(now, reference, Limits(), lower_is_better=True)
    assert verdict(now, reference, "perplexity", lower=True).verdict == "kept"


def test_perplexity_is_lower_is_better() -> None:
    rng = np.random.default_rng(5)
    reference = rng.gamma(4, 0.4, 128)
    worse, better = reference * rng.normal(1.05, 0.03, 128), reference * rng.normal(0.9, 0.03, 128)
    dropped = verdict(worse, reference, "perplexity", lower=True)
    assert dropped.verdict == "dropped"
    assert dropped.retention is not None and 0.94 < dropped.retention < 0.97
    kept = verdict(better, reference, "perplexity", lower=True)
    assert kept.verdict == "kept"
    assert kept.retention is not None and kept.retention > 1.05


def test_a_drop_in_continuous_scores_that_is_noise_is_not_dropped() -> None:
    rng, dropped = np.random.default_rng(6), 0
    for _ in range(100):
        reference = rng.gamma(4, 0.4, 60)
        dropped += verdict(reference + rng.normal(0, 0.3, 60), reference, "perplexity", lower=True).verdict == "dropped"
    assert dropped == 0


def test_each_suite_is_judged_by_itself() -> None:
    """Nine suites that rise do not hide the one that falls."""
    rng = np.random.default_rng(7)
    rows = [verdict(*flipped(rng, 400, 380, 0, 15)) for _ in range(9)] + [verdict(*flipped(rng, 400, 396, 30))]
    assert [row.verdict for row in rows] == ["kept"] * 9 + ["dropped"]


def test_series_beside_the_primary_one_warn_but_do_not_condemn() -> None:
    ones = [1.0] * 400
    half = [0.5 + 0.001 * i / 400 for i in range(400)]
    scores = ItemScores("generation", ones, beside={"loglik": half})
    assert list(scores.by_key("add")) == ["add", "add/loglik"]
    rows = judge(3, "add", scores, {"add": ones, "add/loglik": [0.9] * 400}, AT)
    assert [(row.suite, row.kind, row.verdict) for row in rows] == [
        ("add", "generation", "kept"),
        ("add", "loglik", "suspect"),
    ]


def test_kl_warns_by_its_score_and_is_never_a_verdict() -> None:
    for reference in (np.zeros(50), np.full(50, 1e-9)):  # the anchor's own, in exact and in rounded arithmetic
        row = verdict(np.full(50, 0.25), reference, "kl", lower=True)
        assert (row.score, row.retention, row.ci_low, row.ci_high) == (0.25, None, None, None)
        assert row.verdict == "kept"


def test_an_ability_that_was_never_there_is_kept_without_a_ratio() -> None:
    row = verdict(np.zeros(50), np.zeros(50))
    assert (row.retention, row.verdict) == (None, "kept")


def test_without_a_reference_a_suite_is_its_own() -> None:
    row = judge(0, "add", ItemScores("generation", [1.0, 0.0, 1.0]), {}, AT)[0]
    assert (row.retention, row.verdict, row.score, row.anchor) == (1.0, "kept", row.anchor, row.score)


def test_items_that_came_in_since_the_reference_are_left_out() -> None:
    row = judge(5, "learned-task", ItemScores("generation", [1.0] * 10 + [0.0] * 6), {"learned-task": [1.0] * 10}, AT)[
        0
    ]
    assert (row.items, row.score, row.anchor, row.retention) == (10, 1.0, 1.0, 1.0)


def test_graded_scores_are_judged_too() -> None:
    rng = np.random.default_rng(8)
    reference = rng.choice([0.0, 0.5, 1.0], 400, p=[0.02, 0.08, 0.9])
    now = np.where(rng.random(400) < 0.12, 0.0, reference)
    assert verdict(now, reference).verdict == "dropped"


def test_the_row_has_the_fields_of_the_retention_log() -> None:
    row = asdict(verdict(np.ones(4), np.ones(4)))
    names = "version suite kind items score anchor retention ci_low ci_high verdict at"
    assert list(row) == names.split()
    assert (row["version"], row["suite"], row["items"], row["at"]) == (7, "add", 4, AT)


def test_limits_decide() -> None:
    rng = np.random.default_rng(9)
    now, reference = flipped(rng, 400, 400, 20)
    scores, references = ItemScores("generation", now.tolist()), {"add": reference.tolist()}
    verdicts = [
        judge(1, "add", scores, references, AT, Limits(t, a))[0].verdict
        for t, a in [(0.02, 0.01), (0.06, 0.01), (0.02, 1e-4)]
    ]
    assert verdicts == ["dropped", "kept", "suspect"]
