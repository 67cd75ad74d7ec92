"""`edge-es config show | check | init`: the whole tree, a file's errors, and a file to start from."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_es.errors import ConfigError
from service.cli.options import AsJson, ConfigFile, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show, check or start a configuration file.")


class Preset(StrEnum):
    """The files in configs/."""

    pocket = "pocket"
    gb8 = "8gb"
    gb12 = "12gb"
    gb24 = "24gb"


def _value(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML too; non-ASCII text is left as it is in both.
    return json.dumps(value, ensure_ascii=False)


def as_toml(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The lines of a TOML file. Keys without a value stand as comments, since TOML has no null."""
    lines = [
        f"# {key} =  (off)" if v is None else f"{key} = {_value(v)}"
        for key, v in tree.items()
        if not isinstance(v, Mapping)
    ]
    if prefix and (lines or not tree):
        lines = [f"[{prefix}]", *lines, ""]
    for key, value in tree.items():
        if isinstance(value, Mapping):
            name = key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _value(key)
            lines += as_toml(value, f"{prefix}.{name}" if prefix else name)
    return lines


@app.command("show")
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every key with its value: file, then environment, over the defaults."""
    from edge_es.config import load

    tree = load(config).model_dump(mode="json")
    if as_json:
        print_json(tree)
    else:
        typer.echo("\n".join(as_toml(tree)).rstrip())


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Configuration file (TOML).")],
    as_json: AsJson = False,
) -> None:
    """Check a file: exit status 0 if it can be used, 1 with the first wrong key if not."""
    from edge_es.config import load

    try:
        load(file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(file), "ok": False, "error": str(error)})
        raise typer.Exit(1) from None
    if as_json:
        print_json({"file": str(file), "ok": True, "error": None})
    else:
        typer.echo(f"{file} is fine")


@app.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("edge-es.toml"),
    preset: Annotated[Preset, typer.Option("--preset", help="Hardware to start from.")] = Preset.pocket,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a configuration file to start from; an existing file is kept unless --force is given."""
    from importlib.resources import files

    text = (files("configs") / f"{preset.value}.toml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file or give --force") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"file": str(file), "preset": preset.value})
    else:
        typer.echo(f"wrote {file}; `edge-es serve --config {file}` uses it")
