"""What sizes of population come to: at equal evaluations and at equal steps, over seeds; and a plot of it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_es.study.report import half_width

COLUMNS = (
    "task", ">population", ">seeds", ">anchor", ">at equal evaluations", ">its steps", ">at equal steps",
    ">its evaluations", ">gain a step", ">reliability", ">published", ">lowest retention", ">ms an evaluation",
)  # fmt: skip

Record = Mapping[str, Any]


def summary(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A value a task and size: means over seeds, with `ci`, half-widths of 95% intervals, where there are several.

    at_evaluations, at_steps: accuracy on the task when the run first had the asked evaluations, or steps; steps and
    evaluations: what it had of the other then. gain_per_step: over the anchor, at equal steps. reliability: split-half,
    of the steps up to those. retention_min: at the end of the run, which had both.
    """
    found = []
    for (task, population), own in _grouped(records).items():
        each = [_one(record) for record in own]
        keys = [key for key in each[0] if key != "seed"]
        values = {key: [one[key] for one in each if one[key] is not None] for key in keys}
        found.append(
            {
                "task": task,
                "population": population,
                "seeds": [one["seed"] for one in each],
                **{key: statistics.fmean(known) if known else None for key, known in values.items()},
                "ci": {key: half_width(known) for key, known in values.items()},
            }
        )
    return sorted(found, key=lambda one: (one["task"], one["population"]))


def _one(record: Record) -> dict[str, Any]:
    run, curve = record["run"], record["curve"]
    by_evaluations = next(at for at in curve if at["evaluations"] >= run["evaluations"])
    by_steps = next(at for at in curve if at["step"] >= run["steps"])
    steps = record["steps"][: by_steps["step"]]
    known = [step["reliability"] for step in steps if step["reliability"] is not None]
    anchor, last = curve[0]["new_task"], curve[-1]
    return {
        "seed": run["seed"],
        "anchor": anchor,
        "at_evaluations": by_evaluations["new_task"],
        "steps": by_evaluations["step"],
        "at_steps": by_steps["new_task"],
        "evaluations": by_steps["evaluations"],
        "gain_per_step": (by_steps["new_task"] - anchor) / by_steps["step"],
        "reliability": statistics.fmean(known) if known else None,
        "published": sum(step["reason"] is None for step in steps) / len(steps),
        "retention_min": min(record["retention"].values()),
        "seconds_per_evaluation": last["seconds"] / last["evaluations"],
    }


def rows(found: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Of a summary, for a table."""
    for one in found:
        yield (
            one["task"],
            one["population"],
            len(one["seeds"]),
            one["anchor"],
            _cell(one, "at_evaluations"),
            f"{one['steps']:.0f}",
            _cell(one, "at_steps"),
            f"{one['evaluations']:.0f}",
            f"{one['gain_per_step']:+.4f}",
            _cell(one, "reliability"),
            f"{one['published']:.0%}",
            one["retention_min"],
            f"{1000 * one['seconds_per_evaluation']:.2f}",
        )


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """scale-TASK.png and .svg of every task: accuracy by evaluations and by steps, a line a size (mean over seeds, and
    each seed's own, faint). Imports matplotlib, which is slow."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from edge_es.study.figures import STYLE, saved

    paths: list[Path] = []
    with plt.rc_context(STYLE):
        for task in dict.fromkeys(record["run"]["task"] for record in records):
            groups = {size: own for (name, size), own in sorted(_grouped(records).items()) if name == task}
            paths += saved(_curves(groups), folder / f"scale-{task}")
        plt.close("all")
    return paths


def _curves(groups: Mapping[int, Sequence[Record]]) -> Any:
    from matplotlib import colormaps
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
    for place, (size, own) in enumerate(groups.items()):
        colour = colormaps["viridis"](0.95 * place / max(1, len(groups) - 1))
        for axis, key in zip(axes, ("evaluations", "step"), strict=True):
            for record in own:
                xs, ys = ([at[one] for at in record["curve"]] for one in (key, "new_task"))
                axis.plot(xs, ys, color=colour, linewidth=0.6, alpha=0.45)
            looks = list(zip(*(record["curve"] for record in own), strict=False))
            xs = [statistics.fmean(at[key] for at in look) for look in looks]
            ys = [statistics.fmean(at["new_task"] for at in look) for look in looks]
            axis.plot(xs, ys, color=colour, linewidth=1.6, marker=".", label=f"{size} members")
    axes[0].set(xlabel="evaluations", ylabel="accuracy on held-out items")
    axes[1].set(xlabel="steps", xscale="symlog")
    axes[1].legend(fontsize=7, frameon=False)
    return figure


def _grouped(records: Iterable[Record]) -> dict[tuple[str, int], list[Record]]:
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record["run"]["task"], record["run"]["population"]), []).append(record)
    return groups


def _cell(one: Mapping[str, Any], key: str) -> str:
    if one[key] is None:
        return ""
    width = one["ci"][key]
    return f"{one[key]:.3f}" if width is None else f"{one[key]:.3f} ± {width:.3f}"
