"""What tasks in a sequence come to, against the bar."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEAST_KEPT = 0.90  # of each task's own peak, at the end
LEAST_RETENTION = 0.98  # of every suite, after every phase
COLUMNS = (
    ">seed", "task", ">evaluations", ">before", ">peak", ">at the end", ">end/peak", ">lowest retention then",
    ">lowest at the end", "met",
)  # fmt: skip

Record = Mapping[str, Any]


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A value a seed: each task's peak, its accuracy at the end and their ratio; the retention of every suite at the
    end; the lowest after each phase; and which parts of the bar are met."""
    found = []
    for record in records:
        phases, last = record["phases"], record["phases"][-1]
        tasks = {
            phase["task"]: {
                "evaluations": phase["evaluations"],
                "before": phase["start"],
                "peak": record["peaks"][phase["task"]],
                "end": last["tasks"][phase["task"]],
                "end_over_peak": _ratio(last["tasks"][phase["task"]], record["peaks"][phase["task"]]),
                "retention_min": min(phase["retention"].values()),
            }
            for phase in phases
        }
        ratios = [task["end_over_peak"] for task in tasks.values()]
        found.append(
            {
                "seed": record["sequence"]["seed"],
                "tasks": tasks,
                "retention": last["retention"],
                "retention_min": min(last["retention"].values()),
                "norm": last["norm"],
                "met": {
                    "tasks": all(ratio is not None and ratio >= LEAST_KEPT for ratio in ratios),
                    "retention": min(task["retention_min"] for task in tasks.values()) >= LEAST_RETENTION,
                },
            }
        )
    return found


def rows(found: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Of a summary, for a table: a row a task."""
    for one in found:
        missed = [part for part, met in one["met"].items() if not met]
        for name, task in one["tasks"].items():
            measures = [task[key] for key in ("before", "peak", "end", "end_over_peak", "retention_min")]
            met = "not " + ", ".join(missed) if missed else "yes"
            yield (one["seed"], name, task["evaluations"], *measures, one["retention_min"], met)


def _ratio(end: float, peak: float) -> float | None:
    """None where nothing was ever learned: a ratio of nothing would say that it was kept."""
    return end / peak if peak > 0 else None
