"""`edge-es bench-soak`: whether a daemon that learns and answers for long grows, leaks or slows down."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson, print_json, print_table


def bench_soak(
    requests: Annotated[int, typer.Option("--requests", min=1, help="Requests in all.")] = 20_000,
    events: Annotated[int, typer.Option("--events", min=1, help="Feedback events in all.")] = 20_000,
    versions: Annotated[int, typer.Option("--versions", min=27, help="Rounds, with a learned version each.")] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the prompts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Requests, feedback and versions by the thousand: memory, open files and latency over them. Takes most of an hour.

    Starts a daemon of its own on a temporary folder, and stops it.
    """
    from service.load.soak import slopes, soak

    with tempfile.TemporaryDirectory(prefix="edge-es-soak-") as folder:
        samples = soak(Path(folder), requests, events, versions, seed, lambda line: print(line, file=sys.stderr))
    found = slopes(samples)
    if as_json:
        print_json(
            {
                "requests": requests,
                "events": events,
                "versions": samples[-1].version,
                "seed": seed,
                **{name: one.as_json() for name, one in found.items()},
            }
        )
        return
    units = {
        "resident": ("resident memory, MiB", 2**-20),
        "files": ("open files", 1),
        "first": ("first token, ms", 1e3),
        "whole": ("whole answer, ms", 1e3),
    }
    rows = []
    for name, (what, scale) in units.items():
        one = found[name]
        change = f"{one.change * scale:+.2f} ± {one.half_width * scale:.2f}"
        rows.append((what, f"{one.start * scale:.1f}", change, "flat" if one.flat else "NOT FLAT"))
    title = f"{requests} requests, {events} events, {samples[-1].version} versions; after a quarter of them"
    print_table(("", ">at first", ">change to the end (95%)", ""), rows, title=title)
