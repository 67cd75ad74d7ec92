"""Further experiments of `edge-es study`: noise, sequence, alarms, poison, scale. Records are not made twice."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import AsJson, Settings, print_table, show, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_es.model import Base

Out = Annotated[Path, typer.Option("--out", help="Folder of the records.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", min=0, help="A seed; may be given several times.")]
MostItems = Annotated[int | None, typer.Option("--items", min=1, help="Items of a prior suite; default: all.")]


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


def _require_known(option: str, given: list[str] | None, known: Iterable[str]) -> None:
    for one in given or ():
        if one not in known:
            raise typer.BadParameter(f"'{one}' is none of {', '.join(known)}", param_hint=option)


def noise(
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Learning steps; default: 1000, of the honest stream 200.")
    ] = None,
    honest: Annotated[
        bool, typer.Option("--honest", help="The alias' events instead, which are to be learned.")
    ] = False,
    items: MostItems = None,
    seed: Seeds = None,
    settings: Settings = None,
    out: Out = Path("study-noise"),
    as_json: AsJson = False,
) -> None:
    """Learning steps on ratings that a coin gave: how many are published, and what they cost.

    Runs that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.config import load
    from edge_es.study.noise import STEPS, Run, Stream, kept_run
    from edge_es.study.noise_report import COLUMNS, rows, summary

    over = tree(settings or [])
    base = _base(load(None, over))
    stream: Stream = "honest" if honest else "noise"
    runs = [Run(stream, one, steps or STEPS[stream], items, over) for one in seed or [0]]
    records: list[dict[str, Any]] = []
    with _progress(sum(run.steps for run in runs)) as say:
        for run in runs:
            done = sum(one["run"]["steps"] for one in records)
            records.append(kept_run(base, run, out, lambda step, state, done=done: say(done + step, state)))  # type: ignore[misc]
    found = summary(records)
    show({"runs": found}, as_json, lambda: print_table(COLUMNS, rows(found), title=f"records, with every step: {out}"))


def sequence(
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="Most of a task: members times items. Default: 40000.")
    ] = None,
    until: Annotated[float, typer.Option("--until", help="A task's phase ends at this accuracy; over 1: never.")] = 0.9,
    events: Annotated[int | None, typer.Option("--events", min=1, help="Items of each task to learn from.")] = None,
    items: MostItems = None,
    seed: Seeds = None,
    settings: Settings = None,
    out: Out = Path("study-sequence"),
    as_json: AsJson = False,
) -> None:
    """Five tasks one after another with one learner: what of each is left at the end, and of what was there before.

    Runs that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.config import load
    from edge_es.study import plan
    from edge_es.study.sequence import EVALUATIONS, ORDER, Course, kept_course
    from edge_es.study.sequence_report import COLUMNS, rows, summary

    over = tree(settings or [])
    base = _base(load(None, over))
    shape = (evaluations or EVALUATIONS, until, items, events or plan.EVENTS, over)
    records: list[dict[str, Any]] = []
    with _progress(len(seed or [0]) * len(ORDER)) as say:
        for one in seed or [0]:
            done = len(records) * len(ORDER)

            def told(task: str, share: float, state: str, done: int = done) -> None:
                say(done + ORDER.index(task) + min(1.0, share), state)

            records.append(kept_course(base, Course(one, *shape), out, told))
    found = summary(records)
    show({"runs": found}, as_json, lambda: print_table(COLUMNS, rows(found), title=f"records, phase by phase: {out}"))


def alarms(
    trials: Annotated[int, typer.Option("--trials", min=1, help="Changes of each kind.")] = 100,
    items: Annotated[int, typer.Option("--items", min=8, help="Items of a probe suite.")] = 800,
    truth: Annotated[int, typer.Option("--truth", min=500, help="Items by which the true loss is known.")] = 5000,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="harmless or drop; default: both.")] = None,
    seed: Seeds = None,
    settings: Settings = None,
    out: Out = Path("study-alarms"),
    as_json: AsJson = False,
) -> None:
    """How often the probes' verdict is wrong: harmless changes that it drops, drops of three points that it misses.

    Trials that OUT holds already, with the same settings, are not run again; with another number of items, or other
    limits, the changes that it holds are judged anew.
    """
    from edge_es.config import load
    from edge_es.probes.verdicts import Limits
    from edge_es.study.alarm_report import COLUMNS, rows, summary
    from edge_es.study.alarms import Trial, kept_trials
    from edge_es.study.known import KINDS, Wanted

    _require_known("--kind", kind, KINDS)
    over = tree(settings or [])
    config = load(None, over)
    kinds = [one for one in KINDS if not kind or one in kind]
    named = [Trial(Wanted(k, n, s, truth), items, over) for s in seed or [0] for n in range(trials) for k in kinds]
    records = []
    with _progress(len(named)) as say:
        for trial, record in kept_trials(_base(config), named, out, config):
            records.append(record)
            lost = f"true loss {record['lost']:.4f}"
            say(len(records), f"{trial.name}: {lost}, dropped: {', '.join(record['dropped']) or 'none'}")
    found = summary(records, Limits(config.probes.tolerance, config.probes.alpha))
    show(found, as_json, lambda: print_table(COLUMNS, rows(found), title=f"records: {out}"))


def poison(
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="same or other: the source of what is wrong; default: both.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option("--attack", help="skill, garbage or prior; default: skill.")
    ] = None,
    share: Annotated[float, typer.Option("--share", min=0.0, max=0.9, help="Of all events that is wrong.")] = 0.2,
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="Of each run; default: 60000.")
    ] = None,
    items: MostItems = None,
    seed: Seeds = None,
    settings: Settings = None,
    out: Out = Path("study-poison"),
    as_json: AsJson = False,
) -> None:
    """The alias with wrong demonstrations among the right ones, beside the same without: what it learns and keeps.

    Runs that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.config import load
    from edge_es.study import plan
    from edge_es.study.poison import ATTACKS, POISONED, kept_run, runs
    from edge_es.study.poison_report import COLUMNS, rows, summary

    _require_known("--stream", stream, POISONED)
    _require_known("--attack", attack, ATTACKS)
    streams = [one for one in POISONED if not stream or one in stream]
    attacks = [one for one in ATTACKS if one in (attack or ["skill"])]
    over = tree(settings or [])
    base = _base(load(None, over))
    named = runs(streams, attacks, seed or [0], evaluations or plan.EVALUATIONS, share=share, items=items, over=over)
    records: list[dict[str, Any]] = []
    with _progress(len(named)) as say:
        for run in named:
            done = len(records)
            records.append(kept_run(base, run, out, lambda spent, state, done=done: say(done + spent, state)))  # type: ignore[misc]
    found = summary(records)
    show(
        {"runs": found},
        as_json,
        lambda: print_table(
            COLUMNS, rows(found), title=f"records: {out}; clipped: of what is wrong / of what is right"
        ),
    )


def scale(
    task: Annotated[
        list[str] | None, typer.Option("--task", help="alias, style or weak_skill; default: the last and the first.")
    ] = None,
    population: Annotated[
        list[int] | None, typer.Option("--population", min=4, help="Members; default: 16, 32, ... 1024.")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option("--evaluations", min=1, help="At which sizes are compared. Default: 60000.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="At which, too. Default: 20.")] = None,
    events: Annotated[int | None, typer.Option("--events", min=1, help="Items to learn from.")] = None,
    items: MostItems = None,
    seed: Seeds = None,
    settings: Settings = None,
    out: Out = Path("study-scale"),
    as_json: AsJson = False,
) -> None:
    """What a larger population gains: at equal evaluations, and at equal steps. A run goes on until it has both.

    Runs that OUT holds already, with the same settings, are not run again.
    """
    from edge_es.config import load
    from edge_es.study import plan
    from edge_es.study.population import EVALUATIONS, SIZES, STEPS, Run, kept_run
    from edge_es.study.population_report import COLUMNS, draw, rows, summary

    _require_known("--task", task, plan.TASKS)
    over = tree(settings or [])
    base = _base(load(None, over))
    named = [
        Run(t, p, s, evaluations or EVALUATIONS, steps or STEPS, events or plan.events_of(t), items, over)
        for t in task or ("weak_skill", "alias")
        for p in population or SIZES
        for s in seed or [0]
    ]
    records: list[dict[str, Any]] = []
    with _progress(len(named)) as say:
        for run in named:
            done = len(records)
            records.append(kept_run(base, run, out, lambda spent, state, done=done: say(done + spent, state)))  # type: ignore[misc]
    found = summary(records)
    draw(records, out)
    show({"runs": found}, as_json, lambda: print_table(COLUMNS, rows(found), title=f"records and plots: {out}"))
