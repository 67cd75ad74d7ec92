"""What runs on noise and on the honest stream come to, against the bar."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_NOISE = 0.05  # share of noise steps that may be published
LEAST_HONEST = 0.80  # share of honest steps that are to be
LEAST_RETENTION = 0.99  # of every suite
MOST_GROWTH = 1.2  # of the norm over the second half; a walk without end has the root of 2
COLUMNS = (
    "stream", ">seed", ">steps", ">published", ">lowest retention", ">mean retention", ">norm", ">growth",
    ">walk ratio", "met", "rejections",
)  # fmt: skip

Record = Mapping[str, Any]


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A value a run, without its single steps; `met` says which parts of the bar it meets."""
    found = []
    for record in records:
        noise, kept = record["run"]["stream"] == "noise", record["retention"]
        published, growth = record["published"], record["norm_growth"]
        met = {
            "published": published <= MOST_NOISE if noise else published >= LEAST_HONEST,
            "retention": min(kept.values()) >= LEAST_RETENTION,
        }
        if noise:
            met["norm"] = growth is None or growth <= MOST_GROWTH
        known = [r for step in record["steps"] if (r := step["fitness_reliability"]) is not None]
        found.append(
            {
                **{key: value for key, value in record.items() if key != "steps"},
                "retention_min": min(kept.values()),
                "retention_mean": statistics.fmean(kept.values()),
                "reliability_mean": statistics.fmean(known) if known else None,
                "met": met,
            }
        )
    return found


def rows(found: Iterable[Record]) -> Iterable[tuple[Any, ...]]:
    """Of a summary, for a table."""
    for one in found:
        yield (
            one["run"]["stream"],
            one["run"]["seed"],
            one["run"]["steps"],
            f"{one['published']:.1%}",
            one["retention_min"],
            one["retention_mean"],
            one["norm"],
            one["norm_growth"],
            one["walk_ratio"],
            "yes" if all(one["met"].values()) else "not " + ", ".join(k for k, v in one["met"].items() if not v),
            "; ".join(f"{count} {reason}" for reason, count in one["rejections"].items()) or "none",
        )
