"""What the cells of a study found, over their seeds: one JSON value, and tables for a spreadsheet."""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MEASURES = (
    "new_task",
    "new_nats",
    "gain",
    "retention_min",
    "retention_mean",
    "evaluations",
    "seconds",
    "norm",
    "relative_norm",
    "walk_ratio",
    "formula_ratio",
    "kl_new",
    "kl_prior",
    "peak_bytes",
)
T95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Two-sided 95% quantiles of Student's t by degrees of freedom, 0 to 9."""

Record = Mapping[str, Any]


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """{"arms": {arm: {task: means over seeds, "seeds", "ci": half-widths of 95% intervals}}} of finished cells. The
    interval of a single seed is null."""
    arms: dict[str, dict[str, Any]] = {}
    for (name, task), own in _grouped(records):
        finals = [record["final"] for record in own]
        suites = finals[0]["retention"]
        kinds = finals[0]["sparsity"]
        arms.setdefault(name, {})[task] = {
            "seeds": [record["cell"]["seed"] for record in own],
            **{key: _mean([final.get(key) for final in finals]) for key in MEASURES},
            "retention": {suite: _mean([final["retention"][suite] for final in finals]) for suite in suites},
            "sparsity": {
                kind: {key: _mean([final["sparsity"][kind][key] for final in finals]) for key in kinds[kind]}
                for kind in kinds
            },
            "ci": {key: half_width([final.get(key) for final in finals]) for key in MEASURES},
        }
    return {"arms": arms}


def write_tables(records: Sequence[Record], folder: Path) -> list[Path]:
    """checkpoints.csv, a line for each checkpoint of each cell; final.csv, for each arm and task means over seeds with
    half-widths of their 95% intervals (.ci); sparsity.csv, for each kind of layer the share of zeros at each tau."""
    looks = [
        {**_name(record), **_flat(one), **{f"retention.{suite}": value for suite, value in one["retention"].items()}}
        for record in records
        for one in record["checkpoints"]
    ]
    finals = [
        {
            **{"arm": name, "task": task, "seeds": len(found["seeds"])},
            **{key: found[key] for key in MEASURES},
            **{f"{key}.ci": found["ci"][key] for key in MEASURES},
            **{f"retention.{suite}": value for suite, value in found["retention"].items()},
        }
        for name, tasks in summary(records)["arms"].items()
        for task, found in tasks.items()
    ]
    zeros = [
        {"arm": name, "task": task, "seeds": len(found["seeds"]), "layers": kind, **shares}
        for name, tasks in summary(records)["arms"].items()
        for task, found in tasks.items()
        for kind, shares in found["sparsity"].items()
    ]
    paths = [folder / "checkpoints.csv", folder / "final.csv", folder / "sparsity.csv"]
    for path, rows in zip(paths, (looks, finals, zeros), strict=True):
        _write(path, rows)
    return paths


def rows(found: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Of a summary, for a table: arm, task, seeds, then means with half-widths of their intervals."""
    table = []
    for name, tasks in found["arms"].items():
        for task, one in tasks.items():
            cells = (_cell(one, key) for key in ("new_task", "retention_min", "norm", "kl_prior"))
            table.append((name, task, len(one["seeds"]), *cells, f"{one['evaluations']:.0f}", f"{one['seconds']:.0f}"))
    return table


COLUMNS = ("arm", "task", ">seeds", ">new task", ">lowest retention", ">norm", ">KL prior", ">evaluations", ">seconds")


def _cell(one: Mapping[str, Any], key: str) -> str:
    width = one["ci"][key]
    return f"{one[key]:.3f}" if width is None else f"{one[key]:.3f} ± {width:.3f}"


def _grouped(records: Iterable[Record]) -> list[tuple[tuple[str, str], list[Record]]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["cell"]["arm"], record["cell"]["task"]), []).append(record)
    return list(groups.items())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def half_width(values: Sequence[float | None]) -> float | None:
    """Of the 95% interval of the mean, by Student's t; None for fewer than two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return T95[min(len(known), len(T95)) - 1] * statistics.stdev(known) / math.sqrt(len(known))


def _name(record: Record) -> dict[str, Any]:
    return {key: record["cell"][key] for key in ("arm", "task", "seed")}


def _flat(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": one["step"], **{key: one[key] for key in MEASURES if key in one}}


def _write(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in table for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
