"""`edge-es bench-serve`: what requests feel of learning on this machine, and what learning gets beside them."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson, print_json, print_table


def bench_serve(
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Requests a second, at random moments.")] = 2.0,
    clients: Annotated[
        int, typer.Option("--clients", min=0, help="Instead: so many clients that ask again and again.")
    ] = 0,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=3600, help="Length of a phase.")] = 60.0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=20, help="Times that the phases take turns.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the moments and prompts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Serve while learning: latency against learning paused, and learning against nobody asking, in turns.

    Starts a daemon of its own on a temporary folder, and stops it.
    """
    from service.load.phases import Load, compared, measure

    load = Load(clients=clients) if clients else Load(rate=rate)
    with tempfile.TemporaryDirectory(prefix="edge-es-load-") as folder:
        phases = measure(Path(folder), load, seconds, rounds, seed, lambda line: print(line, file=sys.stderr))
    found = compared(phases)
    if as_json:
        print_json(
            {"load": load.name, "seconds": seconds, "seed": seed, **found, "phases": [p.as_json() for p in phases]}
        )
        return
    rows = [
        (name, *("-" if (x := found[key][one]) is None else f"{x:.2f}" for one in (before, "learning", "ratio")))
        for name, key, before in (
            ("first token, 99th percentile, ms", "first_token_p99_ms", "paused"),
            ("between tokens, 99th percentile, ms", "token_p99_ms", "paused"),
            ("answers a second", "answers_per_second", "paused"),
            ("versions a second (against nobody asking)", "versions_per_second", "idle"),
        )
    ]
    errors = ", ".join(f"{count} x {status}" for status, count in found["errors"].items()) or "none"
    share = found["learning_share_of_device"]["idle"]
    rows.append(("learning's share of the device, nobody asking", f"{share:.2f}", "", ""))
    title = f"{load.name}, medians of {rounds} phases of {seconds:g} s; failed requests: {errors}"
    print_table(("", ">without", ">with learning", ">ratio"), rows, title=title)
