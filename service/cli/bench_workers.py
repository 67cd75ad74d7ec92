"""`edge-es bench-workers`: a step by workers on this machine's cores, beside the same step in one process."""

import sys
from typing import Annotated

import typer

from service.cli.options import AsJson, Settings, number, print_table, show, tree

COLUMNS = (">workers", ">s here", ">s by workers", ">overhead", ">ms an evaluation", ">bytes out", ">bytes back")


def bench_workers(
    workers: Annotated[
        list[int] | None, typer.Option("--workers", min=1, help="How many; may be given several times. Default: 1, 2.")
    ] = None,
    population: Annotated[int, typer.Option("--population", min=4, help="Members of a step.")] = 64,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Measured steps of each, whose median counts.")] = 7,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure what workers cost: a step's members on pocket, by Ray's workers here and in one process, in turn.

    The process has as many threads as all workers together.
    """
    from edge_es.bench.workers import compared
    from edge_es.cluster import extra
    from edge_es.config import load
    from edge_es.study.arms import merged

    extra.require()
    config = load(None, merged(tree(settings or []), {"search": {"population": population}}))
    found = compared(config, workers or [1, 2], rounds, lambda line: print(line, file=sys.stderr, flush=True))

    def render() -> None:
        rows = [
            (
                row["count"],
                number(row["in_process_seconds"]),
                number(row["workers_seconds"]),
                f"{row['overhead']:+.1%}",
                f"{1000 * row['evaluation_seconds']:.2f}",
                row["out_bytes"],
                row["back_bytes"],
            )
            for row in found["workers"]
        ]
        asks = found["asks"]
        title = (
            f"{asks['population']} members on {asks['events']} items, {asks['evaluations']} evaluations; beside items"
        )
        print_table(COLUMNS, rows, title=title)

    show(found, as_json, render)
