"""How small a drop a suite can show: of its size and its score at the anchor, by the verdict's own rule. No torch."""

from dataclasses import dataclass

import numpy as np

from edge_es.probes.statistics import Scores, first_half, retention
from edge_es.probes.verdicts import Limits, is_dropped

LOW, HIGH = 0.3, 0.995  # scores at the anchor below which there is little to lose, above which little to gain
COARSE = 0.1  # a drop in retention; a suite that shows only larger ones guards little


@dataclass(frozen=True)
class Detectable:
    """lost: right items that must be lost, none won, for the suite to count as dropped; None where not even all of
    them are enough. drop: the same as a share of the anchor's score."""

    lost: int | None
    drop: float | None


def smallest_drop(anchor: Scores, limits: Limits | None = None) -> Detectable:
    """Of 0/1 scores, (items,). Lost items are taken evenly from both halves, as they lie on average. Where they lie
    unevenly it takes one or two less (11 of 400 at best), or more."""
    limits = limits or Limits()
    half = first_half(len(anchor))
    sides = [np.flatnonzero((anchor > 0) & side) for side in (half, ~half)]
    order = [int(i) for pair in zip(*sides, strict=False) for i in pair]
    order += [int(i) for side in sides for i in side[min(map(len, sides)) :]]
    now = anchor.astype(np.float64).copy()
    for lost, item in enumerate(order, 1):
        now[item] = 0.0
        kept = retention(now, anchor).value
        if kept is not None and kept < 1 - limits.tolerance and is_dropped(now, anchor, limits):
            return Detectable(lost, lost / len(order))
    return Detectable(None, None)


def warnings(kind: str, anchor: list[float], limits: Limits | None = None) -> list[str]:
    """What is wrong with a suite as a guard, a line each; none is good. anchor: scores item by item, 0/1 or not.

    kl suites warn and never condemn, so nothing is said of them but that.
    """
    scores = np.asarray(anchor, dtype=np.float64)
    if kind == "kl":
        return ["a kl suite warns of drift and is never a reason to roll back; add one of another kind, too"]
    found: list[str] = []
    if kind == "perplexity":
        return found if len(scores) >= 16 else [f"{len(scores)} texts are few: a test on half of them can show little"]
    if not np.isin(scores, (0.0, 1.0)).all():  # grades
        return (
            found if len(scores) >= 32 else [f"{len(scores)} graded items are few: a test on half of them shows little"]
        )
    score = float(scores.mean())
    if score < LOW:
        found.append(
            f"the anchor has only {score:.2f}: there is little to forget; take items that the model can do, or another "
            "form of asking"
        )
    if score > HIGH and kind == "generation":
        found.append(f"the anchor has {score:.3f}: harder items would show a loss earlier")
    least = smallest_drop(scores, limits)
    if least.lost is None:
        found.append(
            f"of {len(scores)} items the anchor has {int(scores.sum())} right, too few: not even the loss of all of "
            "them could be told from chance"
        )
    elif least.drop is not None and least.drop > COARSE:
        found.append(
            f"{len(scores)} items are few: only a loss of {least.drop:.0%} of what the anchor can do would be seen "
            f"({least.lost} items); 400 items show one of about 3%"
        )
    return found
