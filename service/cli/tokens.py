"""`edge-es token`: prints the token that changes to the model ask for."""

from typing import Annotated

import typer

from edge_es.errors import StateError
from service.cli.options import AsJson, StateDir, print_json
from service.cli.target import read_json, state_folder


def token(
    chat: Annotated[bool, typer.Option("--chat", help="The chat token instead of the admin token.")] = False,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the admin token of the state folder (--json: both tokens)."""
    path = state_folder(state_dir) / "tokens.json"
    tokens = read_json(path)
    if tokens is None:
        raise StateError(f"{path} does not exist; `edge-es serve` makes it at its first start")
    if as_json:
        print_json(tokens)
        return
    name = "chat" if chat else "admin"
    if name not in tokens:
        raise StateError(
            f"{path} holds no '{name}' token; stop the daemon and delete it, the next start writes a new one"
        )
    typer.echo(tokens[name])
