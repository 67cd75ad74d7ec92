"""`edge-es serve`: the configuration from file, environment and command line, then the daemon."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.options import ConfigFile


class Device(StrEnum):
    """Where the model runs."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


def overrides(
    model: str | None, host: str | None, port: int | None, state_dir: Path | None, device: str | None
) -> dict[str, Any]:
    """The options that were given, as the nested dict that `edge_es.config.load` takes."""
    tree: dict[str, Any] = {}
    given = {
        ("model", "ref"): model,
        ("model", "device"): device,
        ("serve", "host"): host,
        ("serve", "port"): port,
        ("state", "dir"): str(state_dir) if state_dir else None,
    }
    for (section, key), value in given.items():
        if value is not None:
            tree.setdefault(section, {})[key] = value
    return tree


def serve(
    config: ConfigFile = None,
    model: Annotated[
        str | None, typer.Option("--model", help="'pocket', a hub id, a local folder of safetensors, or shape:NAME.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes a free port.")] = None,
    state_dir: Annotated[Path | None, typer.Option("--state-dir", help="State folder; made if absent.")] = None,
    device: Annotated[Device | None, typer.Option("--device", help="Where the model runs.")] = None,
) -> None:
    """Serve the model and learn from feedback, until SIGTERM or Ctrl-C."""
    from edge_es.config import load
    from service.daemon import leave
    from service.daemon import serve as run

    loaded = load(config, overrides(model, host, port, state_dir, device.value if device else None))
    status = run(loaded)
    if status == 0:
        leave()
    raise typer.Exit(status)
