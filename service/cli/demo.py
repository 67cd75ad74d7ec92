"""`edge-es demo`: the whole story in one command."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from service.cli.options import AsJson, print_json, print_table
from service.cli.serve import Device


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """An empty folder that is deleted afterwards, or one that the user names and keeps."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="edge-es-demo-") as folder:
        yield Path(folder)


def demo(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="A folder, not there yet, that keeps the state and the daemon's log."),
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Where the model runs.")] = Device.auto,
    as_json: AsJson = False,
) -> None:
    """Teach a real daemon, attack it, watch it roll back: ten minutes. Exit status 1 if a bar is missed."""
    from service.demo.bars import as_json as result
    from service.demo.bars import bars
    from service.demo.story import Plan, tell
    from service.demo.view import screen

    if keep is not None and keep.exists():
        raise typer.BadParameter(f"{keep} exists already", param_hint="--keep")
    # A terminated demo must stop its daemon as an interrupted one does.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _workplace(keep) as folder, screen() as shown:
            measured = tell(folder / "state", folder / "daemon.log", ["--device", device.value], Plan(), shown)
    except KeyboardInterrupt:
        typer.echo("interrupted; the daemon was stopped", err=True)
        raise typer.Exit(1) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    found = result(measured)
    if as_json:
        print_json(found)
    else:
        print_table(
            ("", "what", "bar", ">measured"),
            [("ok" if bar.met else "MISSED", bar.what, bar.bar, bar.measured) for bar in bars(measured)],
        )
        print_table(("suite", ">retention"), list(found["retention"].items()))
    if not found["ok"]:
        raise typer.Exit(1)
