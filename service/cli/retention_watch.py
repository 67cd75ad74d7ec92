"""`edge-es retention watch`: probes as they come; on a terminal a table that lives, elsewhere a line each."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edge_es.errors import EdgeError
from service.cli.options import AsJson, StateDir, Url, number

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
Look = tuple[Sequence[Row], Row]  # the log, and the status
T = TypeVar("T")
BARS = "▁▂▃▄▅▆▇█"
PAST = 14  # rounds of a sparkline
FLOOR = 0.9  # retention of the lowest bar
COLOURS = {"kept": "green", "suspect": "yellow", "dropped": "red"}


def sparkline(values: Sequence[float]) -> str:
    """Retention as bars: the lowest at FLOOR and below, the highest at 1 and above."""
    top = len(BARS) - 1
    shares = [min(1.0, max(0.0, (value - FLOOR) / (1 - FLOOR))) for value in values]
    return "".join(BARS[round(share * top)] for share in shares)


def table(rows: Sequence[Row], status: Row, now: datetime) -> "Table":
    """The newest result of every suite, with its past."""
    from rich.markup import escape
    from rich.table import Table

    title = f"{status['model'] or 'no model'} · version {status['version']} · {status['learning']} · {now:%H:%M:%S}"
    found = Table(title=escape(title), title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in ("suite", "version", "retention", "interval", "verdict", "past"):
        found.add_column(name, justify="right" if name in ("version", "retention") else "left")
    past: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] not in ("loglik", "acc"):
            past.setdefault(row["suite"], []).append(row)
    for suite, line in sorted(past.items(), key=lambda one: (one[0].startswith("learned-"), one[0])):
        last, colour = line[-1], COLOURS[line[-1]["verdict"]]
        ratios = [row["retention"] for row in line if row["retention"] is not None]
        found.add_row(
            escape(suite),
            str(last["version"]),
            number(last["retention"]),
            f"{number(last['ci_low'])} to {number(last['ci_high'])}",
            f"[{colour}]{last['verdict']}[/]",
            sparkline(ratios[-PAST:]),
        )
    return found


def fresh(looks: Iterator[Sequence[Row]]) -> Iterator[Row | None]:
    """The rows that no earlier look has brought, and None behind each look."""
    seen: set[tuple[Any, ...]] = set()
    for rows in looks:
        for row in rows:
            key = (row["version"], row["suite"], row["kind"], row["at"])
            if key not in seen:
                seen.add(key)
                yield row
        yield None


def line(row: Row) -> str:
    """One result for a log."""
    return (
        f"{row['at'][:19]}  version {row['version']:>5}  {row['suite']:<20} {row['kind']:<9} "
        f"{number(row['score'])} (retention {number(row['retention'])})  {row['verdict']}"
    )


def watch(
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many new results; 0: never.")] = 0,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Follow probes as they come until Ctrl-C: a live table on a terminal, else a line each (--json: JSON Lines)."""
    from rich.console import Console

    from service.cli.reading import retention, status
    from service.cli.target import find

    console = Console()

    lives = console.is_terminal and not as_json

    def look() -> Look:
        target = find(state_dir, url)  # anew each time: a daemon may start or stop meanwhile
        return retention(target), status(target) if lives else {}

    try:
        if lives:
            _live(console, patient(look, every), count)
        else:
            _log((rows for rows, _ in patient(look, every)), count, as_json)
    except KeyboardInterrupt:
        return


def patient(look: Callable[[], T], every: float) -> Iterator[T]:
    """Looks each `every` seconds, for ever. What keeps the first from being had is raised; later it is waited for: a
    daemon that starts anew is away for a while."""
    yield look()
    while True:
        time.sleep(every)
        try:
            found = look()
        except EdgeError:
            continue
        yield found


def _log(looks: Iterator[Sequence[Row]], count: int, as_json: bool) -> None:
    shown = 0
    for row in fresh(looks):
        if row is None:
            continue
        typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False) if as_json else line(row))
        shown += 1
        if count and shown >= count:
            return


def _live(console: Any, looks: Iterator[Look], count: int) -> None:
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        for rows, status in looks:
            live.update(table(rows, status, datetime.now(UTC).astimezone()), refresh=True)
            if count and len(rows) >= count:
                return
