"""`edge-es retention plot`: the dashboard's picture of retention, as a file; a panel a suite."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_es.errors import StateError
from service.cli.files import writing
from service.cli.options import AsJson, StateDir, Url, show

INK, MUTED, LINE, ACCENT, BAD = "#1c2327", "#5a656c", "#e4e1da", "#0b6a68", "#b3261e"  # as in dashboard/style.css
STYLE: Any = {
    "svg.hashsalt": "edge-es",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
LOW = 0.9  # the lowest retention that every panel shows
BESIDE = ("loglik", "acc")  # kinds that stand beside what verdicts are given on
Row = Mapping[str, Any]


def lines_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """suite -> its rows with a retention, by version; prior suites before those of what was taught."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] not in BESIDE and row["retention"] is not None:
            found.setdefault(row["suite"], []).append(row)
    return dict(sorted(found.items(), key=lambda one: (is_learned(one[0]), one[0])))


def draw(rows: Sequence[Row], rollbacks: Sequence[int], out: Path) -> list[Path]:
    """Writes out.png and out.svg; their paths. rollbacks: versions, which are marked. The same rows give the same
    bytes under one version of matplotlib. Raises StateError where there is nothing to draw, or no place for it."""
    lines = lines_of(rows)
    if not lines:
        raise StateError("no suite has a retention yet; `edge-es probe run` probes the version that is served")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(4, len(lines))
    down = -(-len(lines) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            down, columns, figsize=(2.6 * columns + 0.6, 1.7 * down + 0.6), squeeze=False, sharex=True,
            layout="constrained",
        )  # fmt: skip
        for place, (axis, (suite, line)) in enumerate(zip(axes.flat, lines.items(), strict=False)):
            _panel(axis, suite, line, rollbacks)
            axis.set_ylim(limits(lines, is_learned(suite)))
            axis.tick_params(
                labelleft=place % columns == 0 or is_learned(suite), labelbottom=place + columns >= len(lines)
            )
        for axis in list(axes.flat)[len(lines) :]:
            axis.set_visible(False)
        figure.supxlabel("version", fontsize=9, color=MUTED)
        figure.supylabel("retention", fontsize=9, color=MUTED)
        paths = [out.with_name(f"{out.name}.{kind}") for kind in ("png", "svg")]
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(paths[0], dpi=160, metadata={"Software": None})
            figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return paths


def is_learned(suite: str) -> bool:
    """Is the suite made of held-out feedback?"""
    return suite.startswith("learned-")


def limits(lines: Mapping[str, Sequence[Row]], learned: bool) -> tuple[float, float]:
    """(lowest, highest) retention that all panels of prior suites show, or all of learned ones: those have few items at
    first, and intervals so wide that nothing could be seen of the others."""
    shown = [row for suite, line in lines.items() if is_learned(suite) == learned for row in line]
    known = [row[key] for row in shown for key in ("retention", "ci_low", "ci_high") if row[key] is not None]
    return min(LOW, *known) - 0.01, max(1.02, *known) + 0.01


def _panel(axis: Any, suite: str, line: Sequence[Row], rollbacks: Sequence[int]) -> None:
    versions = [row["version"] for row in line]
    for version in rollbacks:
        axis.axvline(version, color=BAD, linewidth=0.7, linestyle=":", alpha=0.6)
    banded = [row for row in line if row["ci_low"] is not None and row["ci_high"] is not None]
    axis.fill_between(
        [row["version"] for row in banded],
        [row["ci_low"] for row in banded],
        [row["ci_high"] for row in banded],
        color=ACCENT,
        alpha=0.15,
        linewidth=0,
    )
    axis.axhline(1.0, color=INK, linewidth=0.8, linestyle="--")
    marker = "o" if len(line) < 3 else None
    axis.plot(versions, [row["retention"] for row in line], color=ACCENT, linewidth=1.4, marker=marker, markersize=3)
    dropped = [row for row in line if row["verdict"] == "dropped"]
    axis.plot([row["version"] for row in dropped], [row["retention"] for row in dropped], "v", color=BAD, markersize=4)
    axis.set_title(f"{suite}  {line[-1]['retention']:.3f}", fontsize=9, loc="left")


def plot(
    out: Annotated[Path, typer.Argument(help="Path without an ending: .png and .svg are written.")] = Path("retention"),
    suite: Annotated[list[str] | None, typer.Option("--suite", help="Only this suite; may be repeated.")] = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Draw every suite's retention over the versions, with its interval and the anchor at 1."""
    from service.cli.reading import retention, versions
    from service.cli.target import find

    target = find(state_dir, url)
    rows = retention(target)
    unknown = set(suite or ()) - {row["suite"] for row in rows}
    if unknown:
        raise StateError(f"no suite '{min(unknown)}' was probed; these were: {', '.join(sorted(lines_of(rows)))}")
    back = [row["version"] for row in versions(target) if row["kind"] == "rollback"]
    chosen = [row for row in rows if not suite or row["suite"] in suite]
    paths = draw(chosen, back, out)
    show({"files": [str(path) for path in paths]}, as_json, lambda: typer.echo("\n".join(map(str, paths))))
