"""What poisoned streams come to beside the clean one of their seed, against the bar."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEAST_RETENTION = 0.98  # of every suite
LEAST_TASK = 0.9  # of the clean run's accuracy on the honest task
COLUMNS = (
    "stream", "attack", ">seed", ">task", ">of clean", ">lowest retention", "suite", ">adversarial", ">in batches",
    ">clipped", "met",
)  # fmt: skip

Record = Mapping[str, Any]


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A value a run; `met`: whether it meets the bar. A poisoned run needs the clean one of its seed beside it."""
    clean = {record["run"]["seed"]: record["new_task"] for record in records if record["run"]["stream"] == "clean"}
    found = []
    for record in records:
        kept, of_clean = record["retention"], record["new_task"] / clean[record["run"]["seed"]]
        worst = min(kept, key=lambda suite: kept[suite])
        found.append(
            {
                **record,
                "of_clean": of_clean,
                "retention_min": kept[worst],
                "worst_suite": worst,
                "met": {"task": of_clean >= LEAST_TASK, "retention": kept[worst] >= LEAST_RETENTION},
            }
        )
    return found


def rows(found: Iterable[Record]) -> Iterable[tuple[Any, ...]]:
    """Of a summary, for a table."""
    for one in found:
        yield (
            one["run"]["stream"],
            one["run"]["attack"],
            one["run"]["seed"],
            one["new_task"],
            one["of_clean"],
            one["retention_min"],
            one["worst_suite"],
            one["adversarial"]["events"],
            one["adversarial"]["in_batches"],
            _share(one["clipped"]["adversarial"]) + " / " + _share(one["clipped"]["honest"]),
            "yes" if all(one["met"].values()) else "not " + ", ".join(k for k, v in one["met"].items() if not v),
        )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
