"""`edge-es token`: prints the token that changes to the model ask for, and makes new ones."""

from typing import Annotated

import typer

from edge_es.errors import StateError
from service.cli.options import AsJson, StateDir, print_json, show
from service.cli.target import live_url, read_json, state_folder

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def token(
    ctx: typer.Context,
    chat: Annotated[bool, typer.Option("--chat", help="The chat token instead of the admin token.")] = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the admin token of the state folder (--json: both tokens)."""
    if ctx.invoked_subcommand:
        return
    path = state_folder(state_dir) / "tokens.json"
    tokens = read_json(path)
    if tokens is None:
        raise StateError(f"{path} does not exist; `edge-es serve` makes it at its first start")
    if as_json:
        print_json(tokens)
        return
    name = "chat" if chat else "admin"
    if name not in tokens:
        raise StateError(f"{path} holds no '{name}' token; `edge-es token rotate` writes new ones")
    typer.echo(tokens[name])


@app.command("rotate")
def rotate(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Make new tokens; a running daemon takes them at once, and the former ones open nothing any more."""
    from service.tokens import rotate as renew

    folder = state_folder(state_dir)
    if not folder.is_dir():
        raise StateError(f"there is no state folder {folder}; name another by --state-dir")
    renew(folder)
    url = live_url(folder)
    who = f"the daemon at {url} asks for them from now on" if url else "the next start asks for them"
    row = {"rotated": ["chat", "admin"], "daemon": url}
    show(row, as_json, lambda: typer.echo(f"new tokens, chat and admin: {who}; `edge-es token` prints them"))
