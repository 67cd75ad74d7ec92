"""Paired statistics: what they promise under the null (false alarms, coverage) and against a real drop (power)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_es.probes import statistics as stats

BINARY = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
POSITIVE = st.lists(
    st.tuples(st.floats(0.01, 5, allow_nan=False), st.floats(0.01, 5, allow_nan=False)), min_size=1, max_size=40
)

GOLDEN_HALF = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0]


def columns(pairs: list[tuple[float, float]]) -> tuple[stats.Scores, stats.Scores]:
    return stats.pair([float(a) for a, _ in pairs], [float(b) for _, b in pairs])


# --- halves


@given(n=st.integers(0, 700), more=st.integers(0, 50))
def test_halves_are_equal_fixed_and_grow_at_the_end_only(n: int, more: int) -> None:
    half = stats.first_half(n)
    assert abs(int(half.sum()) - int((~half).sum())) <= 1
    assert (stats.first_half(n + more)[:n] == half).all()


def test_the_halves_are_pinned() -> None:
    assert stats.first_half(24).astype(int).tolist() == GOLDEN_HALF


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 10])
def test_no_period_of_a_suite_falls_into_one_half(period: int) -> None:
    half = stats.first_half(400)
    for phase in range(period):
        assert 0.3 < half[phase::period].mean() < 0.7


# --- retention


@given(pairs=POSITIVE)
def test_lower_is_better_turns_the_ratio_round(pairs: list[tuple[float, float]]) -> None:
    now, reference = columns(pairs)
    up, down = stats.retention(now, reference), stats.retention(reference, now, lower_is_better=True)
    assert up == down
    assert up.value == pytest.approx(now.mean() / reference.mean())
    assert stats.retention(now, reference, lower_is_better=True).value == pytest.approx(reference.mean() / now.mean())


@given(pairs=st.one_of(BINARY, POSITIVE), lower=st.booleans())
def test_the_interval_holds_the_ratio_and_all_are_finite_or_none(pairs: list[tuple[float, float]], lower: bool) -> None:
    kept = stats.retention(*columns(pairs), lower)
    if kept.low is None or kept.high is None:  # also of one item, or a score of 0: there is nothing that scatters
        assert kept.low is None and kept.high is None
    else:
        assert kept.value is not None
        assert 0 <= kept.low <= kept.value <= kept.high < math.inf


def test_nothing_to_keep_has_no_ratio() -> None:
    zero, one = np.zeros(5), np.ones(5)
    assert stats.retention(one, zero) == stats.Retention(None, None, None)
    assert stats.retention(zero, zero) == stats.Retention(None, None, None)
    assert stats.retention(zero, zero, lower_is_better=True) == stats.Retention(None, None, None)
    assert stats.retention(one, zero, lower_is_better=True) == stats.Retention(None, None, None)  # KL to the anchor
    assert stats.retention(zero, one, lower_is_better=True).value is None


def test_all_lost_is_a_retention_of_zero() -> None:
    kept = stats.retention(np.zeros(50), np.ones(50))
    assert kept.value == 0.0 and kept.low == 0.0
    assert kept.high is not None and 0 < kept.high < 0.3


def test_equal_scores_still_have_an_interval_and_it_narrows_with_items() -> None:
    widths = []
    for n in (50, 400, 3200):
        kept = stats.retention(np.ones(n), np.ones(n))
        assert kept.value == 1.0 and kept.low is not None and kept.high is not None
        widths.append(kept.high - kept.low)
    assert widths[0] > 4 * widths[1] > 16 * widths[2] > 0


@pytest.mark.parametrize(
    ("level", "lost", "won"), [(0.98, 0.02, 0.01), (0.9, 0.05, 0.3), (0.6, 0.1, 0.05), (0.99, 0.05, 0.0)]
)
def test_binary_intervals_cover_the_true_retention(level: float, lost: float, won: float) -> None:
    rng, hits, rounds = np.random.default_rng(1), 0, 1500
    truth = (level * (1 - lost) + (1 - level) * won) / level
    for _ in range(rounds):
        reference = rng.random(400) < level
        now = np.where(reference, rng.random(400) >= lost, rng.random(400) < won)
        kept = stats.retention(now.astype(float), reference.astype(float))
        hits += kept.low <= truth <= kept.high  # type: ignore[operator]
    assert 0.93 <= hits / rounds <= 0.98


@pytest.mark.parametrize(("n", "least"), [(8, 0.92), (30, 0.93), (400, 0.935)])
def test_continuous_intervals_cover_the_true_retention(n: int, least: float) -> None:
    rng, hits, rounds = np.random.default_rng(2), 0, 1500
    for _ in range(rounds):
        reference = rng.gamma(4, 0.4, n)
        kept = stats.retention(reference * rng.normal(1.05, 0.1, n), reference, lower_is_better=True)
        hits += kept.low <= 1 / 1.05 <= kept.high  # type: ignore[operator]
    assert least <= hits / rounds <= 0.98


# --- tests of a drop


def test_sign_test_against_values_worked_by_hand() -> None:
    assert stats.sign_test(0, 0) == 1.0
    assert stats.sign_test(1, 0) == 0.5
    assert stats.sign_test(7, 0) == 2**-7
    assert stats.sign_test(10, 1) == (11 + 1) / 2**11
    assert stats.sign_test(400, 0) == 2.0**-400


@given(pairs=BINARY)
def test_binary_p_value_is_the_sign_test(pairs: list[tuple[float, float]]) -> None:
    now, reference = columns(pairs)
    lost, won = int((now < reference).sum()), int((now > reference).sum())
    expected = stats.sign_test(lost, won) if lost > won else 1.0
    assert stats.drop_p_value(now, reference) == expected


@settings(deadline=None, max_examples=50)
@given(pairs=POSITIVE, lower=st.booleans())
def test_p_values_are_in_range_pure_and_one_where_nothing_fell(pairs: list[tuple[float, float]], lower: bool) -> None:
    now, reference = columns(pairs)
    p = stats.drop_p_value(now, reference, lower)
    assert 0 < p <= 1
    assert p == stats.drop_p_value(now.copy(), reference.copy(), lower)
    assert stats.drop_p_value(now, now, lower) == 1.0
    fell = (now.sum() > reference.sum()) if lower else (now.sum() < reference.sum())
    assert fell or p == 1.0
    assert p == stats.drop_p_value(-now, -reference, not lower)


@given(pairs=BINARY, extra=st.integers(1, 30))
def test_items_that_do_not_differ_say_nothing(pairs: list[tuple[float, float]], extra: int) -> None:
    now, reference = columns(pairs)
    same = np.ones(extra)
    assert stats.drop_p_value(np.append(now, same), np.append(reference, same)) == stats.drop_p_value(now, reference)


def test_sign_flips_agree_with_all_sign_vectors() -> None:
    rng = np.random.default_rng(3)
    for n in (5, 10, 15):
        worse = rng.normal(0.4, 1, n)
        signs = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1).T
        exact = float((signs @ worse >= worse.sum() - 1e-12).mean())
        assert stats._sign_flip(worse, 0) == pytest.approx(exact, abs=1e-12)
    worse = np.append(rng.normal(0.4, 1, 15), 1e-12)  # one more item that weighs nothing: drawn, not enumerated
    assert stats._sign_flip(worse, 0) == pytest.approx(stats._sign_flip(worse[:15], 0), abs=0.005)


def test_no_number_of_items_makes_a_permutation_p_value_zero() -> None:
    assert stats.drop_p_value(np.full(200, 0.5), np.linspace(0.9, 1, 200)) == 1 / (stats.FLIPS + 1)


def test_repeating_the_items_would_be_evidence_so_the_halves_are_disjoint() -> None:
    now, reference = np.zeros(4), np.ones(4)
    assert stats.drop_p_value(np.tile(now, 2), np.tile(reference, 2)) < stats.drop_p_value(now, reference)
    half = stats.first_half(400)
    assert not (half & ~half).any()


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(("level", "churn"), [(0.98, 0.02), (0.9, 0.1), (0.5, 0.4)])
def test_binary_false_alarms_stay_below_alpha(alpha: float, level: float, churn: float) -> None:
    rng, rounds = np.random.default_rng(4), 3000
    alarms = 0
    for _ in range(rounds):
        reference = rng.random(200) < level
        moved = rng.random(200) < churn
        now = np.where(moved, rng.random(200) < level, reference)  # exchangeable: as likely lost as won
        alarms += stats.drop_p_value(now.astype(float), reference.astype(float)) < alpha
    assert alarms / rounds < alpha + 3 * math.sqrt(alpha / rounds)


@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_continuous_false_alarms_stay_near_alpha(noise: str) -> None:
    rng, rounds, alpha = np.random.default_rng(5), 400, 0.05
    alarms = 0
    for _ in range(rounds):
        reference = rng.gamma(4, 0.4, 60)
        change = rng.normal(0, 0.1, 60) if noise == "normal" else rng.standard_t(2, 60) * 0.1
        alarms += stats.drop_p_value(reference + change, reference, lower_is_better=True) < alpha
    assert alarms / rounds < alpha + 3 * math.sqrt(alpha / rounds)


def test_p_values_of_the_permutation_are_uniform_under_the_null() -> None:
    rng = np.random.default_rng(6)
    p = [stats._sign_flip(rng.normal(0, 1, 40), 0) for _ in range(300)]
    for level in (0.1, 0.25, 0.5, 0.75):
        assert abs(np.mean(np.array(p) <= level) - level) < 4 * math.sqrt(level * (1 - level) / 300)


@pytest.mark.parametrize(("scores", "wrong"), [([math.nan], [1.0]), ([math.inf], [1.0]), ([], [])])
def test_scores_that_are_not_finite_are_refused(scores: list[float], wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.pair(scores, wrong)


@pytest.mark.parametrize(("degrees", "exact"), [(7, 2.364624), (29, 2.045230), (399, 1.965927)])
def test_t_quantile_against_tables(degrees: int, exact: float) -> None:
    assert stats._t_quantile(degrees) == pytest.approx(exact, abs=2e-3)
