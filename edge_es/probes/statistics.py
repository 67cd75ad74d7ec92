"""Paired statistics on per-item scores of two versions: retention with its interval, and tests of a drop.

Arrays are (items,) float64, `now` and `reference` on the same items in the same order; numpy only. Everything is
deterministic. Greedy scores of fixed items do not vary from run to run: the chance that is tested is that of the items,
and so the only further evidence is further items, not a repetition.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

FLIPS = 2**15 - 1  # random sign vectors of the permutation test; the least p-value is 1 / (FLIPS + 1)
_CHUNK = 2**10
_Z = 1.959963984540054  # of a two-sided 95% interval


@dataclass(frozen=True)
class Retention:
    """`now` over `reference`, turned round where lower is better, with a 95% interval. None: there is no ratio, or
    nothing to tell an interval by."""

    value: float | None
    low: float | None
    high: float | None


def pair(now: list[float], reference: list[float]) -> tuple[Scores, Scores]:
    """Both as arrays, cut to the items that both have. Raises ValueError on scores that are not finite, or none."""
    n = min(len(now), len(reference))
    a, b = np.asarray(now[:n], dtype=np.float64), np.asarray(reference[:n], dtype=np.float64)
    if not n or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError("scores must be finite and of one item at least")
    return a, b


def first_half(n: int) -> NDArray[np.bool_]:
    """Which of n items are in the first of two fixed halves, (n,) bool.

    Of every two neighbours one is, chosen by a hash of their place, so the halves are equal in size, more items leave
    the halves of the earlier ones as they are, and no period in a suite's order falls into one half.
    """
    pairs = (n + 1) // 2
    coin = np.array([hashlib.sha256(f"half/{k}".encode()).digest()[0] & 1 for k in range(pairs)], dtype=bool)
    half = np.empty(2 * pairs, dtype=bool)
    half[0::2], half[1::2] = coin, ~coin
    return half[:n]


def _t_quantile(degrees: int) -> float:
    """97.5% quantile of Student's t, by the expansion around the normal one (Abramowitz and Stegun 26.7.5)."""
    z, v = _Z, float(max(degrees, 2))
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / v + g2 / v**2 + g3 / v**3


def retention(now: Scores, reference: Scores, lower_is_better: bool = False) -> Retention:
    """Ratio of the means with a 95% interval on the log scale (delta method, paired).

    0/1 scores get half a lost and half a won item more before their variance is taken: where no item differs, or all
    lie on one side, the plain variance would be 0 and the interval a point, as if unseen items could not differ.
    No ratio (all None) where the reference's mean is 0 (nothing to keep), or a lower-is-better score has reached 0.
    """
    top, bottom = (reference, now) if lower_is_better else (now, reference)
    x, y = float(top.mean()), float(bottom.mean())
    if reference.mean() <= 0 or y <= 0:
        return Retention(None, None, None)
    ratio = x / y
    n = len(now)
    if _is_binary(now) and _is_binary(reference):
        lost, won = _discordant(now, reference)
        # Means in which the added halves keep a score of 0 from having an infinite logarithm.
        spread = math.sqrt((lost + won + 1) / ((n * x + 0.5) * (n * y + 0.5)))
        centre = math.log((n * x + 0.5) / (n * y + 0.5))
    elif x <= 0 or n < 2:
        return Retention(ratio, None, None)  # one item, or a score of 0, says nothing of how it scatters
    else:
        spread = math.sqrt(float(((top / x - bottom / y) ** 2).sum()) / (n * (n - 1)))
        centre = math.log(ratio)
    reach = _t_quantile(n - 1) * spread
    low, high = math.exp(centre - min(reach, 50.0)), math.exp(centre + min(reach, 50.0))
    return Retention(ratio, min(low, ratio), max(high, ratio))


def _is_binary(scores: Scores) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _discordant(now: Scores, reference: Scores) -> tuple[int, int]:
    return int((now < reference).sum()), int((now > reference).sum())


def drop_p_value(now: Scores, reference: Scores, lower_is_better: bool = False, seed: int = 0) -> float:
    """One-sided p-value of "no drop": small where `now` is worse than `reference`. 1 where it is no worse at all.

    0/1 scores: exact sign test on the items that differ (McNemar's exact test, one-sided). Others: sign-flip
    permutation of the paired differences, FLIPS random ones from `seed`, the observed one counted (Phipson and Smyth).
    """
    worse = now - reference if lower_is_better else reference - now
    if not len(worse) or worse.sum() <= 0:
        return 1.0
    if _is_binary(now) and _is_binary(reference):
        lost, won = int((worse > 0).sum()), int((worse < 0).sum())
        return sign_test(lost, won)
    return _sign_flip(worse[worse != 0], seed)


def sign_test(lost: int, won: int) -> float:
    """P(at least `lost` of lost + won fair coins), exact."""
    n = lost + won
    return sum(math.comb(n, k) for k in range(lost, n + 1)) / 2**n


def _sign_flip(worse: Scores, seed: int) -> float:
    """P(sum of the differences with random signs is at least the observed sum)."""
    n = len(worse)
    if n <= 15:  # few enough to take every sign vector
        signs = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) * 2 - 1
        return float((signs @ worse >= worse.sum() * (1 - 1e-9)).mean())
    generator = np.random.Generator(np.random.Philox(seed))
    at_least, left = 0, FLIPS
    while left:
        rows = min(_CHUNK, left)
        bits = np.unpackbits(generator.integers(0, 256, (rows, (n + 7) // 8), dtype=np.uint8), axis=1)[:, :n]
        # Signs are 1 - 2 bits, so the sum is the observed one less twice that of the flipped.
        at_least += int((bits.astype(np.float64) @ worse <= worse.sum() * 0.5e-9).sum())
        left -= rows
    return (at_least + 1) / (FLIPS + 1)
