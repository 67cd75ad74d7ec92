"""What the trials of `alarms` come to: shares with intervals, against the bar.

Verdicts are given anew from the records' scores, by the rule as it is now.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_es.probes.verdicts import ItemScores, Limits, SuiteResult, judge
from edge_es.study.alarms import scores_of
from edge_es.study.shares import wilson

MOST_ALARMS = 0.01  # of harmless changes
LEAST_FOUND = 0.95  # of drops
COLUMNS = ("change", ">trials", "verdict dropped", ">share", ">95% interval", ">true loss", "bar", "met")

Record = Mapping[str, Any]


def dropped(record: Record, limits: Limits) -> list[str]:
    """The suites of a trial whose verdict is `dropped`."""
    names, items = record["suites"], record["trial"]["items"]
    return [name for name in names if _judged(names[name], items, limits).verdict == "dropped"]


def summary(records: Sequence[Record], limits: Limits) -> dict[str, Any]:
    """{"harmless": ..., "drop": ...} of the trials that there are: how many were `dropped`, its share with a Wilson
    interval, the true loss (of a drop in points, of a harmless change the share of its accuracy that the worst suite
    loses), if the bar is met, and the trials that were judged wrongly."""
    found: dict[str, Any] = {}
    for kind in ("harmless", "drop"):
        own = [record for record in records if record["trial"]["kind"] == kind]
        if not own:
            continue
        wrong = [record for record in own if bool(dropped(record, limits)) != (kind == "drop")]
        count = len(own) - len(wrong) if kind == "drop" else len(wrong)
        share = count / len(own)
        losses = [record["lost"] for record in own]
        found[kind] = {
            "trials": len(own),
            "dropped": count,
            "share": share,
            "interval": wilson(count, len(own)),
            "true_loss": {"mean": statistics.fmean(losses), "least": min(losses), "most": max(losses)},
            "bar": LEAST_FOUND if kind == "drop" else MOST_ALARMS,
            "met": share >= LEAST_FOUND if kind == "drop" else share <= MOST_ALARMS,
            "wrong": [_told(record, limits) for record in wrong],
        }
    return found


def rows(found: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    """Of a summary, for a table."""
    for kind, one in found.items():
        low, high = one["interval"]
        loss, bar = one["true_loss"], f"{'at least' if kind == 'drop' else 'at most'} {one['bar']:.2f}"
        yield (
            kind,
            one["trials"],
            one["dropped"],
            f"{one['share']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{loss['mean']:.4f} ({loss['least']:.4f} to {loss['most']:.4f})",
            bar,
            "yes" if one["met"] else "no",
        )


def _judged(places: Mapping[str, Any], items: int, limits: Limits) -> SuiteResult:
    now, before = scores_of(places, items)
    return judge(1, "suite", ItemScores("generation", now), {"suite": before}, "", limits)[0]


def _told(record: Record, limits: Limits) -> dict[str, Any]:
    suites = {}
    for name, places in record["suites"].items():
        one = _judged(places, record["trial"]["items"], limits)
        counts = {"lost": len(places["lost"]), "won": len(places["won"])}
        suites[name] = {"verdict": one.verdict, "retention": one.retention, **counts}
    trial = record["trial"]
    return {"number": trial["number"], "seed": trial["seed"], "lost": record["lost"], "suites": suites}
