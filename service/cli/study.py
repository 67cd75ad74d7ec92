"""`edge-es study forgetting`: the paper's experiment on the embedded model, cell by cell, resumable."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import trials
from service.cli.options import AsJson, Settings, print_json, print_table, tree

if TYPE_CHECKING:
    from edge_es.study.cell import Say
    from edge_es.study.measure import Checkpoint

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Experiments on the embedded model.")
for command in (trials.noise, trials.sequence, trials.alarms):
    app.command(command.__name__)(command)


@contextmanager
def _progress(names: list[str]) -> Iterator[dict[str, "Say"]]:
    """A bar a cell on a terminal's standard error; lines where that is none."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        shown = {name: bars.add_task(name, total=1.0, start=False, state="") for name in names}

        def say(name: str) -> "Say":
            def told(share: float, at: "Checkpoint") -> None:
                state = f"task {at.new_task:.3f}  lowest retention {at.retention_min:.3f}"
                bars.start_task(shown[name])
                bars.update(shown[name], completed=share, state=state)
                if not console.is_terminal:
                    print(f"{name}, {at.evaluations} evaluations: {state}  norm {at.norm:.2f}", file=sys.stderr)

            return told

        yield {name: say(name) for name in names}


@app.command("forgetting")
def forgetting(
    arm: Annotated[list[str] | None, typer.Option("--arm", help="An arm; may be given more than once.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="alias, style or weak_skill.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="A seed; may be given several times.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Four cells in a quarter of an hour.")] = False,
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="Budget of a cell: members times items, or rollouts.")
    ] = None,
    until: Annotated[float | None, typer.Option("--until", help="End a cell at this accuracy on the task.")] = None,
    looks: Annotated[int, typer.Option("--looks", min=1, help="Checkpoints of a cell.")] = 12,
    items: Annotated[
        int | None,
        typer.Option("--items", min=1, help="Items of a prior suite at checkpoints; at the end, all."),
    ] = 200,
    events: Annotated[
        int | None, typer.Option("--events", min=1, help="Items to learn from; the first 512 ship with the model.")
    ] = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of records, tables and figures.")] = Path("study"),
    as_json: AsJson = False,
) -> None:
    """Teach the embedded model in every way; measure what each gains and forgets. The full matrix takes hours.

    Cells that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.study import plan
    from edge_es.study.arms import ARMS
    from edge_es.study.arms import arm as known
    from edge_es.study.cell import Cell, finished, run_cell
    from edge_es.study.figures import draw
    from edge_es.study.report import COLUMNS, rows, summary, write_tables

    named = plan.quick() if quick else plan.whole(tuple(ARMS))
    if arm or task or seed:
        arms = [known(name).name for name in arm or ARMS]
        named = [(a, t, s) for a in arms for t in map(plan.task, task or plan.tasks_of(a)) for s in seed or plan.SEEDS]
    budget = evaluations or (plan.QUICK_EVALUATIONS if quick else plan.EVALUATIONS)
    over = tree(settings or [])
    cells = [Cell(a, t, s, budget, looks, items, events or plan.EVENTS, until, over) for a, t, s in named]
    with _progress([cell.name for cell in cells]) as say:
        records = [finished(cell, out) or run_cell(cell, out, say[cell.name]) for cell in cells]
    found = summary(records)
    write_tables(records, out)
    draw(records, out)
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, rows(found), title=f"means over seeds; records, tables and figures: {out}")
