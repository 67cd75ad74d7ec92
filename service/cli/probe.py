"""`edge-es probe list | run | add`: the suites that measure prior abilities."""

from pathlib import Path
from typing import Any

import typer

from service.cli import probe_add
from service.cli.options import AsJson, StateDir, Url, number, print_table, show

UNSCORED = "not scored yet"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The suites that measure prior abilities.")


def added(folder: Path) -> list[Path]:
    """The suites that a user put into a state folder."""
    return sorted((folder / "probes").glob("*.jsonl"))


@app.command("list")
def list_suites(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """List the suites with their newest result; those that were not scored yet, too."""
    from service.cli.reading import suites
    from service.cli.target import Folder, find, state_folder

    target = find(state_dir, url)
    found = suites(target)
    if url is None:
        folder = target.path if isinstance(target, Folder) else state_folder(state_dir)
        known = {row["suite"] for row in found}
        found += [_unprobed(path) for path in added(folder) if path.stem not in known]

    def render() -> None:
        columns = ("suite", "kind", ">items", ">version", ">score", ">anchor", ">retention", "verdict")
        rows = [{**row, "verdict": row["verdict"] or UNSCORED} for row in found]
        print_table(columns, [tuple(number(value) for value in row.values()) for row in rows])

    show(found, as_json, render)


def _unprobed(path: Path) -> dict[str, Any]:
    from edge_es.probes.suites import load_suite

    suite = load_suite(path)
    empty = dict.fromkeys(("version", "score", "anchor", "retention", "verdict"))
    return {"suite": suite.name, "kind": suite.kind, "items": len(suite.items), **empty}


@app.command("run")
def run(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Probe the served version now; exit status 1 if a suite was dropped. Needs a running daemon."""
    from service.cli.client import post
    from service.cli.reading import retention
    from service.cli.retention import COLUMNS, cells
    from service.cli.target import running

    target = running(state_dir, url)
    before = {(row["version"], row["suite"], row["kind"], row["at"]) for row in retention(target)}
    post(target, "/v1/probes/run")
    rows = [r for r in retention(target) if (r["version"], r["suite"], r["kind"], r["at"]) not in before]
    show(rows, as_json, lambda: print_table(COLUMNS, map(cells, rows)))
    if any(row["verdict"] == "dropped" for row in rows):
        raise typer.Exit(1)


app.command("add")(probe_add.add)
