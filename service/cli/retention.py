"""`edge-es retention log | show | blame | plot | watch`: what became of the prior abilities."""

from typing import Annotated, Any

import typer

from edge_es.errors import StateError
from service.cli import retention_plot, retention_watch
from service.cli.options import AsJson, StateDir, Url, number, print_table, show

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What became of the prior abilities.")

COLUMNS = (
    ">version",
    "suite",
    "kind",
    ">items",
    ">score",
    ">anchor",
    ">retention",
    ">from",
    ">to",
    "verdict",
)
KEYS = ("version", "suite", "kind", "items", "score", "anchor", "retention", "ci_low", "ci_high", "verdict")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    return tuple(number(row[key]) for key in KEYS)


@app.command("log")
def log(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Every probe's result, oldest first."""
    from service.cli.reading import retention
    from service.cli.target import find

    rows = retention(find(state_dir, url))
    show(rows, as_json, lambda: print_table(COLUMNS, map(cells, rows)))


@app.command("show")
def show_version(
    version: Annotated[int | None, typer.Argument(min=0, help="A probed version; default: the newest.")] = None,
    items: Annotated[
        bool, typer.Option("--items", help="Item by item, where its score differs from the anchor's.")
    ] = False,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """One version suite by suite; --items: item by item."""
    from service.cli.reading import retention, retention_items
    from service.cli.target import find

    target = find(state_dir, url)
    rows = retention(target)
    probed = sorted({row["version"] for row in rows})
    if not probed:
        raise StateError("no version was probed yet; `edge-es probe run` probes the one that is served")
    wanted = probed[-1] if version is None else version
    if wanted not in probed:
        raise StateError(f"version {wanted} was not probed; these were: {', '.join(map(str, probed))}")
    chosen = [row for row in rows if row["version"] == wanted]
    found: dict[str, Any] = {"version": wanted, "suites": chosen}
    if items:
        found["items"] = retention_items(target, wanted)

    def render() -> None:
        print_table(COLUMNS, map(cells, chosen))
        if items:
            print_table(
                ("suite", ">item", ">anchor", ">score"),
                [
                    (i["suite"], i["item"], number(i["anchor"]), number(i["score"]))
                    for i in found["items"]
                    if i["score"] != i["anchor"]
                ],
            )

    show(found, as_json, render)


BLAME = (">version", ">back to", ">first bad", ">last good", "suites", "event", "kind", "input")


def culprits(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A line an event of a rollback; one that names none where the first bad version used none."""
    where = (*(row[key] for key in ("version", "target", "first_bad", "last_good")), ", ".join(row["suites"]))
    return [(*where, e["id"], e["kind"], asked(e["input"])) for e in row["events"]] or [(*where, None, None, None)]


def asked(wanted: dict[str, Any]) -> str:
    """The last words of an input, on one line."""
    text: str = wanted["prompt"] if "prompt" in wanted else wanted["messages"][-1]["content"]
    return " ".join(text.split())


@app.command("blame")
def blame(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Rollbacks with the first bad version of each, and the feedback that it used."""
    from service.cli.reading import blame as read
    from service.cli.target import find

    rows = read(find(state_dir, url))
    show(rows, as_json, lambda: print_table(BLAME, [line for row in rows for line in culprits(row)]))


app.command("plot")(retention_plot.plot)
app.command("watch")(retention_watch.watch)
