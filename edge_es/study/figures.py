"""The paper's three figures from the cells of a study: prior against new ability, norm by step, zeros by layer.

Imports matplotlib, which is slow: only when figures are drawn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
TAU = "bf16@1e-06"  # as the paper counts zeros


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """forgetting-TASK.png and .svg for every task, norm.*, sparsity.*; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found: list[Path] = []
    tasks = list(dict.fromkeys(record["cell"]["task"] for record in records))
    with plt.rc_context({"svg.hashsalt": "edge-es", "font.size": 9, "axes.grid": True, "grid.alpha": 0.25}):
        for task in tasks:
            found += _saved(_prior_against_new([r for r in records if r["cell"]["task"] == task]), folder, task)
        found += _saved(_norms(records), folder, "norm")
        found += _saved(_sparsity(records), folder, "sparsity")
        plt.close("all")
    return found


def _prior_against_new(records: Sequence[Record]) -> tuple[str, Any]:
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(record["cell"]["arm"] for record in records))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.4 * columns, 2.8 * lines), squeeze=False, sharey=True)
    points: Any = None
    for axis, name in zip(axes.flat, names, strict=False):
        for record in (r for r in records if r["cell"]["arm"] == name):
            looks = record["checkpoints"]
            new, kept = [one["new_task"] for one in looks], [one["retention_min"] for one in looks]
            axis.plot(new, kept, color="0.8", linewidth=0.8, zorder=1)
            share = [one["evaluations"] / max(1, looks[-1]["evaluations"]) for one in looks]
            points = axis.scatter(new, kept, c=share, cmap="viridis", s=16, vmin=0, vmax=1, zorder=2)
        axis.axhline(1.0, color="0.5", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="new task", xlim=(-0.03, 1.03))
    for axis in axes[:, 0]:
        axis.set_ylabel("lowest retention")
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    figure.colorbar(points, ax=axes, label="share of the evaluations")
    return "forgetting", figure


def _norms(records: Sequence[Record]) -> tuple[str, Any]:
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
    colours = _colours(records)
    labelled: set[str] = set()
    for record in records:
        name, looks = record["cell"]["arm"], record["checkpoints"]
        steps, norms = [one["step"] for one in looks], [one["norm"] for one in looks]
        label = name if name not in labelled else None
        labelled.add(name)
        axis.plot(steps, norms, color=colours[name], label=label, linewidth=1.2)
        walked = [(one["step"], one["norm"] / one["formula_ratio"]) for one in looks if one["formula_ratio"]]
        if walked and label:
            xs, ys = zip(*walked, strict=True)
            axis.plot(xs, ys, color="0.2", linestyle=":", label=r"$\alpha\sqrt{dT/N}$")
    axis.set(xlabel="step", ylabel="Frobenius norm of the change")
    axis.legend(fontsize=7)
    return "", figure


def _sparsity(records: Sequence[Record]) -> tuple[str, Any]:
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(record["cell"]["arm"] for record in records))
    kinds = list(dict.fromkeys(kind for record in records for kind in record["final"]["sparsity"] if kind != "all"))
    figure, axis = plt.subplots(figsize=(1.0 + 0.9 * len(kinds), 3.4), layout="constrained")
    width, colours = 0.8 / len(names), _colours(records)
    for at, name in enumerate(names):
        own = [r["final"]["sparsity"] for r in records if r["cell"]["arm"] == name]
        for place, kind in enumerate(kinds):
            shares = [one[kind][TAU] for one in own if kind in one]
            if shares:
                left = place - 0.4 + at * width
                axis.bar(left, sum(shares) / len(shares), width, color=colours[name], align="edge")
    axis.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
    axis.set(ylabel="share of weights unchanged (bf16)", ylim=(0, 1.02))
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    axis.legend(handles, names, fontsize=7)
    return "", figure


def _colours(records: Sequence[Record]) -> dict[str, Any]:
    from matplotlib import colormaps

    names = list(dict.fromkeys(record["cell"]["arm"] for record in records))
    return {name: colormaps["tab20"](at % 20) for at, name in enumerate(names)}


def _saved(of: tuple[str, Any], folder: Path, name: str) -> list[Path]:
    prefix, figure = of
    paths = [folder / f"{prefix}{'-' if prefix else ''}{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
