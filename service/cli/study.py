"""`edge-es study`: the paper's experiment on a model that runs here, cell by cell, resumable; and its tuning grids."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import trials
from service.cli.options import AsJson, Settings, print_json, print_table, tree

if TYPE_CHECKING:
    from edge_es.study.cell import Cell, Say
    from edge_es.study.measure import Checkpoint

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Experiments on a model that runs here.")
for command in (trials.noise, trials.sequence, trials.alarms, trials.poison, trials.scale):
    app.command(command.__name__)(command)

Arms = Annotated[list[str] | None, typer.Option("--arm", help="An arm; may be given more than once.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="alias, style, weak_skill; of other models stories, countdown.")
]
Model = Annotated[str, typer.Option("--model", help="The model that is taught: a local folder or a hub id.")]
Stories = Annotated[
    Path | None, typer.Option("--stories", help="Stories for the task of that name: JSON Lines, or a story a line.")
]
Prior = Annotated[
    list[Path] | None, typer.Option("--prior", help="A probe file of what must be kept; may be given several times.")
]
Evaluations = Annotated[
    int | None, typer.Option("--evaluations", min=1, help="Budget of a cell: members times items, or rollouts.")
]
Looks = Annotated[int, typer.Option("--looks", min=1, help="Checkpoints of a cell.")]
Items = Annotated[
    int | None, typer.Option("--items", min=1, help="Items of a prior suite at checkpoints; at the end, all.")
]
Events = Annotated[
    int | None, typer.Option("--events", min=1, help="Items to learn from. Default: 512, of the weak skill 4096.")
]


@dataclass(frozen=True)
class _Placed:
    """A cell, the folder of its record, and what it is called where its progress is shown."""

    cell: "Cell"
    folder: Path
    label: str


def _run(placed: Sequence[_Placed]) -> list[dict[str, Any]]:
    """Their records: those that are there, and those that are made now."""
    from edge_es.study.cell import finished, run_cell

    with _progress([one.label for one in placed]) as say:
        return [finished(one.cell, one.folder) or run_cell(one.cell, one.folder, say[one.label]) for one in placed]


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
    arm: Arms = None,
    task: Tasks = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="A seed; may be given several times.")] = None,
    model: Model = "pocket",
    stories: Stories = None,
    prior: Prior = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few cells in a quarter of an hour.")] = False,
    evaluations: Evaluations = None,
    until: Annotated[float | None, typer.Option("--until", help="End a cell at this accuracy on the task.")] = None,
    looks: Looks = 12,
    items: Items = 200,
    events: Events = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of records, tables and figures.")] = Path("study"),
    as_json: AsJson = False,
) -> None:
    """Teach a model in every way; measure what each gains and forgets. The full matrix takes hours.

    Cells that OUT holds already, with the same settings, are not run again. Keep a folder for each model.
    """
    from edge_es.study import plan
    from edge_es.study.arms import ARMS
    from edge_es.study.arms import arm as known
    from edge_es.study.cell import Cell
    from edge_es.study.figures import draw
    from edge_es.study.report import COLUMNS, rows, summary, write_tables
    from edge_es.study.subject import Subject

    subject = Subject(model, stories, tuple(prior or ()))
    named = plan.quick(subject) if quick else plan.whole(tuple(ARMS), subject)
    if arm or task or seed:
        arms = [known(name).name for name in arm or ARMS]
        named = [(a, t, s) for a in arms for t in task or plan.tasks_of(a, subject) for s in seed or plan.SEEDS]
    for learned in {learned for _, learned, _ in named}:
        plan.can_learn(learned, subject)
    budget = evaluations or (plan.QUICK_EVALUATIONS if quick else plan.EVALUATIONS)
    over = tree(settings or [])
    cells = [
        Cell(a, t, s, budget, looks, items, events or plan.events_of(t), until, over, subject) for a, t, s in named
    ]
    records = _run([_Placed(cell, out, cell.name) for cell in cells])
    found = summary(records)
    write_tables(records, out)
    draw(records, out)
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, rows(found), title=f"means over seeds; records, tables and figures: {out}")


@app.command("grid")
def grid(
    arm: Arms = None,
    task: Tasks = None,
    model: Model = "pocket",
    stories: Stories = None,
    prior: Prior = None,
    evaluations: Evaluations = None,
    looks: Looks = 4,
    items: Items = 200,
    events: Events = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of records.")] = Path("study-grid"),
    as_json: AsJson = False,
) -> None:
    """Run the tuning grid of arms on the development seeds, and name the best setting of each on each task.

    What --set names holds for all of a grid. Nothing is changed: the settings of an arm are written in the code.
    """
    from edge_es.errors import InputError
    from edge_es.study import plan
    from edge_es.study.arms import ARMS, merged
    from edge_es.study.arms import arm as known
    from edge_es.study.cell import Cell
    from edge_es.study.grid import CRITERION, Tried, best, named
    from edge_es.study.subject import Subject

    subject, over = Subject(model, stories, tuple(prior or ())), tree(settings or [])
    arms = [known(name) for name in arm] if arm else [one for one in ARMS.values() if one.grid]
    if without := [one.name for one in arms if not one.grid]:
        raise InputError(f"arm {without[0]} has no grid: it has the settings of es-adapter", "arm")
    tried: list[Tried] = []
    placed: list[_Placed] = []
    for of in arms:
        for learned in task or plan.tasks_of(of.name, subject):
            plan.can_learn(learned, subject)
            for setting in of.grid:
                tried.append(Tried(of.name, learned, setting, ()))
                for seed in plan.GRID_SEEDS:
                    budget, count = evaluations or plan.QUICK_EVALUATIONS, events or plan.events_of(learned)
                    settings_of = merged(over, setting)
                    cell = Cell(of.name, learned, seed, budget, looks, items, count, None, settings_of, subject)
                    name = named(setting)
                    placed.append(_Placed(cell, out / name, f"{cell.name} {name}"))
    records = iter(_run(placed))
    tried = [replace(one, records=[next(records) for _ in plan.GRID_SEEDS]) for one in tried]
    groups: dict[tuple[str, str], list[Tried]] = {}
    for one in tried:
        groups.setdefault((one.arm, one.task), []).append(one)
    chosen = {key: best(group) for key, group in groups.items()}
    if as_json:
        value: dict[str, dict[str, Any]] = {}
        for (name, learned), group in groups.items():
            at = chosen[name, learned]
            value.setdefault(name, {})[learned] = {"best": at.setting, "tried": [one.as_json() for one in group]}
        print_json({"criterion": CRITERION, "arms": value})
        return
    columns = ("arm", "task", "setting", ">new task", ">lowest retention", ">norm", ">KL prior", ">seconds", "best")
    found = []
    for one in tried:
        means = [one.mean(key) for key in ("new_task", "retention_min", "norm", "kl_prior")]
        mark = "*" if one is chosen[one.arm, one.task] else ""
        found.append((one.arm, one.task, one.name, *means, f"{one.mean('seconds'):.0f}", mark))
    print_table(columns, found, title=f"means over seeds {', '.join(map(str, plan.GRID_SEEDS))}; best: {CRITERION}")
