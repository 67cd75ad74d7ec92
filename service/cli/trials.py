"""`edge-es study alarms`: the further experiments, each with records that are not made twice."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import AsJson, Settings, print_json, print_table, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_es.model import Base

Out = Annotated[Path, typer.Option("--out", help="Folder of the records.")]


@contextmanager
def _progress(total: int) -> Iterator["Callable[[float, str], None]"]:
    """A bar on a terminal's standard error, lines where that is none: called with what is done and what is known."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("", total=total)

        def say(done: float, state: str) -> None:
            bars.update(bar, completed=done, description=state)
            if not console.is_terminal:
                print(state, file=sys.stderr, flush=True)

        yield say


def _base(config: Any) -> "Base":
    """The embedded model, as the configuration quantizes it."""
    from edge_es.model import load_base

    return load_base(config.model)


def alarms(
    trials: Annotated[int, typer.Option("--trials", min=1, help="Changes of each kind.")] = 100,
    items: Annotated[int, typer.Option("--items", min=8, help="Items of a probe suite.")] = 800,
    truth: Annotated[int, typer.Option("--truth", min=500, help="Items by which the true loss is known.")] = 5000,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="harmless or drop; default: both.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", min=0, help="A seed; may be given several times.")] = None,
    settings: Settings = None,
    out: Out = Path("study-alarms"),
    as_json: AsJson = False,
) -> None:
    """How often the probes' verdict is wrong: harmless changes that it drops, drops of three points that it misses.

    Trials that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.config import load
    from edge_es.study.alarm_report import COLUMNS, rows, summary
    from edge_es.study.alarms import KINDS, Trial, kept_trials

    for one in kind or ():
        if one not in KINDS:
            raise typer.BadParameter(f"'{one}' is none of {', '.join(KINDS)}", param_hint="--kind")
    over = tree(settings or [])
    config = load(None, over)
    kinds = [one for one in KINDS if not kind or one in kind]
    named = [Trial(k, n, s, items, truth, over) for s in seed or [0] for n in range(trials) for k in kinds]
    records = []
    with _progress(len(named)) as say:
        for trial, record in kept_trials(_base(config), named, out, config):
            records.append(record)
            lost = f"true loss {record['lost']:.4f}"
            say(len(records), f"{trial.name}: {lost}, dropped: {', '.join(record['dropped']) or 'none'}")
    found = summary(records)
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, rows(found), title=f"records: {out}")
