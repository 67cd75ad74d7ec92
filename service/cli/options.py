"""The options that several commands share, and how they print: a JSON value, or a table for people."""

import json
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="State folder; default: $EDGE_ES_STATE__DIR, else the user's data folder."),
]
Url = Annotated[str | None, typer.Option("--url", help="Address of a running daemon, such as http://127.0.0.1:8420.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", exists=True, dir_okay=False, help="Configuration file (TOML).")
]

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="In place of a setting, as in TOML.")
]


def tree(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE, dotted keys and values as in TOML, as nested tables. Raises BadParameter."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        *sections, name = key.strip().split(".")
        at = found
        for section in sections:
            at = at.setdefault(section, {})
        try:
            at[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raise typer.BadParameter(f"{pair}: write it like search.alpha=0.5", param_hint="--set") from None
    return found


def print_json(value: Any) -> None:
    """One JSON value on standard output. NaN and infinities would be no JSON and raise ValueError."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def show(value: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Prints `value` as JSON, or calls `render`, which prints it for people."""
    if as_json:
        print_json(value)
    else:
        render()


def number(value: Any, digits: int = 3) -> str:
    """A cell of a table: floats are rounded, None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """A table on standard output. `columns` starting with '>' are right-aligned."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(number(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:  # a pipe has no width: nothing is cut off or folded for it
        console.width = 10_000
    console.print(table)
