"""`edge-es bench`: this machine's own figures beside plain inference, the in-place loop and backprop."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from service.cli.options import AsJson, print_json, print_table
from service.cli.serve import Device


class Quantization(StrEnum):
    """How the base is held."""

    nf4 = "nf4"
    int8 = "int8"
    none = "none"


class Without(StrEnum):
    """What may be left out, since it is slow or large."""

    in_place = "in_place"
    backprop = "backprop"
    decode = "decode"


def _even(value: int) -> int:
    if value % 2:
        raise typer.BadParameter(f"{value} is odd; members come in pairs")
    return value


def bench(
    model: Annotated[
        str, typer.Option("--model", help="'pocket', a hub id, a local folder, or shape:NAME (random weights).")
    ] = "pocket",
    quantization: Annotated[
        Quantization, typer.Option("--quantization", help="How the base is held.")
    ] = Quantization.nf4,
    population: Annotated[
        int, typer.Option("--population", min=2, callback=_even, help="Members of a step; even.")
    ] = 32,
    items: Annotated[int, typer.Option("--items", min=1, help="Items that every member is scored on.")] = 8,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", min=4, help="Random items of so many tokens; default: pocket's own items, else 64."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Measured runs, whose median counts; slow things take at most 3.")
    ] = 7,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, max=600, help="Repeat what is quick for so long.")
    ] = 5.0,
    without: Annotated[
        list[Without] | None, typer.Option("--without", help="Leave this out; may be given more than once.")
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Where the model runs.")] = Device.auto,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: time and memory of learning, beside plain inference and beside what others do."""
    from edge_es.bench.report import RATIOS, as_json_value, legend, table
    from edge_es.bench.suite import Options, bench

    options = Options(
        ref=model,
        quantization=quantization.value,
        device=device.value,
        population=population,
        items=items,
        tokens=tokens,
        repeats=repeats,
        seconds=seconds,
        without=tuple(dict.fromkeys(name.value for name in without or ())),
    )
    found, config = bench(options, lambda line: typer.echo(line, err=True) if sys.stderr.isatty() else None)
    value = as_json_value(found, config, options)
    if as_json:
        print_json(value)
        return
    print_table(*table(value), title=_title(value))
    print_table(("ratio", ">value", "what"), [(name, value["ratios"][name], what) for name, what in RATIOS.items()])
    print_table(("", "what"), legend(value))


def _title(value: dict[str, Any]) -> str:
    held = f"{value['model']} ({value['quantization']}, {value['base_bytes'] / 2**20:.0f} MiB) on {value['device']}"
    items = value["items"]
    return f"{held}: {value['population']} members on {items['count']} items, {items['source']}"
