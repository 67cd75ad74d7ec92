"""`edge-es dashboard`: opens the running daemon's page in the browser, with the admin token."""

import html
from pathlib import Path
from typing import Annotated

import typer

from service.cli.address import Daemon
from service.cli.options import AsJson, StateDir, Url, show

DOOR = "dashboard.html"


def address(daemon: Daemon) -> str:
    """The page's address. The token stands in the fragment, which a browser sends to nobody."""
    return f"{daemon.url}/#token={daemon.token}" if daemon.token else f"{daemon.url}/"


def write_door(folder: Path, target: str) -> Path:
    """A page, for this user's eyes alone, that leads on to `target`: other users could read the address of a browser
    that is started with it in the list of processes."""
    path = folder / DOOR
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    quoted = html.escape(target)
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>edge-es</title>'
        f'<meta http-equiv="refresh" content="0; url={quoted}"><p><a href="{quoted}">edge-es</a></p>\n',
        encoding="utf-8",
    )
    return path


def _door(folder: Path, place: str) -> str | None:
    """What a browser is started with. None where the folder cannot be written: the address itself would stand in the
    list of processes, so that it is only printed."""
    try:
        return write_door(folder, place).absolute().as_uri()
    except OSError:
        return None


def dashboard(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or only print its address.")] = True,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Open the dashboard of the running daemon; with the admin token it may teach and change the model."""
    from service.cli.target import running, state_folder

    target = running(state_dir, url)
    place, folder, opened = address(target), state_folder(state_dir), False
    if browser:
        import webbrowser

        door = _door(folder, place) if target.token else place
        opened = door is not None and webbrowser.open(door)
    row = {"url": place, "token": target.token is not None, "opened": opened}

    def render() -> None:
        if opened:
            typer.echo(f"opened {target.url}/ in your browser")
        else:
            typer.echo(place)
        if target.token is None:
            typer.echo("no admin token is known: the page can look and chat, and change nothing", err=True)

    show(row, as_json, render)
