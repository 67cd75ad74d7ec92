"""The paper's three figures from the cells of a study: prior against new ability, norm by step, zeros by layer.

The same records give the same bytes under one version of matplotlib. Imports matplotlib, which is slow: only when
figures are drawn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
TAU = "bf16@1e-06"  # as the paper counts zeros
STYLE: Any = {
    "svg.hashsalt": "edge-es",
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(records: Sequence[Record], folder: Path) -> list[Path]:
    """forgetting-TASK, norm-TASK and sparsity-TASK of every task, .png and .svg each; their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found: list[Path] = []
    colours = _colours(records)
    with plt.rc_context(STYLE):
        for task in dict.fromkeys(record["cell"]["task"] for record in records):
            own = [record for record in records if record["cell"]["task"] == task]
            found += saved(_prior_against_new(own), folder / f"forgetting-{task}")
            found += saved(_norms(own, colours), folder / f"norm-{task}")
            found += saved(_sparsity(own, colours), folder / f"sparsity-{task}")
        plt.close("all")
    return found


def _prior_against_new(records: Sequence[Record]) -> Any:
    """A panel an arm, a line a seed; each point a checkpoint, coloured by how far into its steps it was taken."""
    from matplotlib import pyplot as plt

    names = _names(records)
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(2.5 * columns + 0.9, 2.4 * lines + 0.4),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    points: Any = None
    for axis, name in zip(axes.flat, names, strict=False):
        own = [record["checkpoints"] for record in records if record["cell"]["arm"] == name]
        for looks in own:
            new, kept = [one["new_task"] for one in looks], [one["retention_min"] for one in looks]
            axis.plot(new, kept, color="0.75", linewidth=0.8, zorder=1)
            share = [one["step"] / max(1, looks[-1]["step"]) for one in looks]
            points = axis.scatter(new, kept, c=share, cmap="viridis", s=18, vmin=0, vmax=1, zorder=2)
        axis.axhline(1.0, color="0.4", linewidth=0.8, linestyle=":", zorder=0)
        axis.set_title(f"{name} ({max(looks[-1]['step'] for looks in own)} steps)", fontsize=8)
        axis.set_xlim(-0.03, 1.03)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("new task: accuracy on held-out items", fontsize=9)
    figure.supylabel("lowest retention of a prior suite", fontsize=9)
    figure.colorbar(points, ax=axes, label="iteration, as a share of the last", aspect=12 * lines + 8)
    return figure


def _norms(records: Sequence[Record], colours: Mapping[str, Any]) -> Any:
    """Logarithmic on both axes: a random walk is a line of slope 1/2."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    labelled: set[str] = set()
    for record in records:
        name, looks = record["cell"]["arm"], [one for one in record["checkpoints"] if one["step"] and one["norm"]]
        steps, norms = [one["step"] for one in looks], [one["norm"] for one in looks]
        label = name if name not in labelled else None
        labelled.add(name)
        axis.plot(steps, norms, color=colours[name], label=label, linewidth=1.2, marker=".", markersize=4)
        walked = [(one["step"], one["norm"] / one["formula_ratio"]) for one in looks if one["formula_ratio"]]
        if walked and label:
            xs, ys = zip(*walked, strict=True)
            axis.plot(xs, ys, color="black", linestyle=":", label=rf"{name}: $\alpha\sqrt{{dT/N}}$")
    axis.set(xlabel="iteration", ylabel="Frobenius norm of the change")
    if any(one["norm"] for record in records for one in record["checkpoints"]):  # none where nothing was published
        axis.set(xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter("{x:g}")
        side.set_minor_formatter("{x:g}")
        side.set_tick_params(which="minor", labelsize=6)
    figure.legend(fontsize=7, loc="outside right upper", frameon=False)
    return figure


def _sparsity(records: Sequence[Record], colours: Mapping[str, Any]) -> Any:
    """Means over seeds."""
    from matplotlib import pyplot as plt

    names = _names(records)
    kinds = list(dict.fromkeys(kind for record in records for kind in record["final"]["sparsity"] if kind != "all"))
    figure, axis = plt.subplots(figsize=(2.4 + 0.8 * len(kinds), 3.2), layout="constrained")
    width = 0.84 / len(names)
    for at, name in enumerate(names):
        own = [r["final"]["sparsity"] for r in records if r["cell"]["arm"] == name]
        for place, kind in enumerate(kinds):
            shares = [one[kind][TAU] for one in own if kind in one]
            if shares:
                left = place - 0.42 + at * width
                axis.bar(left, sum(shares) / len(shares), width, color=colours[name], align="edge")
    axis.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
    axis.grid(visible=False, axis="x")
    axis.set(ylabel="share of weights unchanged (bf16)", ylim=(0, 1.02))
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    figure.legend(handles, names, fontsize=7, loc="outside right upper", frameon=False)
    return figure


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record["cell"]["arm"] for record in records))


def _colours(records: Sequence[Record]) -> dict[str, Any]:
    """One an arm, the same in all figures; strong ones first."""
    from matplotlib import colormaps

    table = colormaps["tab20"]
    return {name: table((2 * at + at // 10) % 20) for at, name in enumerate(_names(records))}


def saved(figure: Any, path: Path) -> list[Path]:
    """Without what differs between two runs: dates, and the name of the program."""
    figure.savefig(path.with_suffix(".png"), dpi=150, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    return [path.with_suffix(".png"), path.with_suffix(".svg")]
