"""Verdicts: is a prior ability kept, suspect or dropped. Judged suite by suite, never on an average over suites.

A suite is *dropped* if its retention is beyond the tolerance, and the drop is significant in a paired test on one
fixed half of its items and confirmed on the other. Both halves at `alpha` are enough. So is one half at `alpha` and
the other leaning the same way (p at most CONFIRM), if both together are significant at alpha * TOGETHER: lost items
often lie unevenly, and two halves at alpha would overlook a third of the falls of 17 items in 400. Under no change the
rule drops at most alpha * TOGETHER + alpha**2 of the suites: 6 in 10,000 at alpha 0.01 [and at most 4 calculated].
With 400 items it takes 11 lost items, none won; one or two are never enough, however small the suite.
Beyond the tolerance but not dropped is *suspect*; everything else is *kept*. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge_es.probes.statistics import Retention, Scores, drop_p_value, first_half, pair, retention

Verdict = Literal["kept", "suspect", "dropped"]
CONFIRM = 0.25  # p-value of the confirming half: two items lost and none won
TOGETHER = 0.05  # share of alpha at which both halves together must then be significant


@dataclass(frozen=True)
class ItemScores:
    """A suite's scores item by item, in the suite's order; all finite, and each exactly a 32-bit float.

    kind names what `primary` is: generation (0/1 or a grade), choice (0/1, by likelihood a character), perplexity and
    kl (nats a token, lower is better), rating (0/1). beside: further series of the same items, which warn but do not
    condemn: loglik (probability of the reference answer), acc (choice by likelihood alone).
    """

    kind: str
    primary: list[float]
    lower_is_better: bool = False
    beside: Mapping[str, list[float]] = field(default_factory=dict)

    def by_key(self, suite: str) -> dict[str, list[float]]:
        """What is stored: the primary scores under the suite's name, the others under "suite/kind"."""
        return {suite: self.primary, **{f"{suite}/{kind}": scores for kind, scores in self.beside.items()}}


@dataclass(frozen=True)
class SuiteResult:
    """A row of the retention log. `anchor` is the score of the reference (for a learned suite the best version's)."""

    version: int
    suite: str
    kind: str
    items: int
    score: float
    anchor: float
    retention: float | None
    ci_low: float | None
    ci_high: float | None
    verdict: Verdict
    at: str


@dataclass(frozen=True)
class Limits:
    """tolerance: a drop in retention that is not yet forgetting. alpha: significance asked of a half."""

    tolerance: float = 0.02
    alpha: float = 0.01


def is_dropped(now: Scores, reference: Scores, limits: Limits, lower_is_better: bool = False) -> bool:
    """Significant on one half and confirmed on the other; says nothing of the tolerance."""
    half = first_half(len(now))
    one, other = sorted(drop_p_value(now[side], reference[side], lower_is_better) for side in (half, ~half))
    if other < limits.alpha:
        return True
    if one >= limits.alpha or other > CONFIRM:
        return False
    return drop_p_value(now, reference, lower_is_better) < limits.alpha * TOGETHER


def judge(
    version: int,
    suite: str,
    scores: ItemScores,
    references: Mapping[str, list[float]],
    at: str,
    limits: Limits | None = None,
) -> list[SuiteResult]:
    """The suite's rows, the primary one first. `references` are per-item scores by `ItemScores.by_key`'s keys.

    A series without a reference is its own (the anchor's first probe, a new learned suite): kept, retention 1. Where
    the reference has fewer items, as when held-out feedback has come in since, the row speaks of the common ones. A kl
    suite has no ratio (the anchor's score is 0) and is always kept: it warns, and the other suites decide.
    Raises ValueError on scores that are not finite.
    """
    limits = limits or Limits()
    rows = []
    for key, values in scores.by_key(suite).items():
        primary = key == suite
        kind = scores.kind if primary else key.rsplit("/", 1)[1]
        lower = scores.lower_is_better and primary
        now, reference = pair(values, references.get(key) or values)
        kept = Retention(None, None, None) if kind == "kl" else retention(now, reference, lower)
        verdict: Verdict = "kept"
        if kept.value is not None and kept.value < 1 - limits.tolerance:
            verdict = "dropped" if primary and is_dropped(now, reference, limits, lower) else "suspect"
        rows.append(
            SuiteResult(
                version=version,
                suite=suite,
                kind=kind,
                items=len(now),
                score=float(now.mean()),
                anchor=float(reference.mean()),
                retention=kept.value,
                ci_low=kept.low,
                ci_high=kept.high,
                verdict=verdict,
                at=at,
            )
        )
    return rows
