"""`edge-es config show | check | init`: the whole tree, a file's errors, and a file to start from."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_es.errors import ConfigError
from service.cli.options import AsJson, ConfigFile, print_json, print_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show, check or start a configuration file.")


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
    """Check a file and explain every value and where it comes from; exit status 1 with the first wrong key."""
    from edge_es.config import load
    from service.config_sources import explained

    try:
        values = explained(load(file), file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(file), "ok": False, "error": str(error), "values": []})
        raise typer.Exit(1) from None
    if as_json:
        rows = [
            {"key": one.key, "value": one.value, "source": one.source, "explanation": one.explanation} for one in values
        ]
        print_json({"file": str(file), "ok": True, "error": None, "values": rows})
        return
    columns = ("key", "value", "from", "what it is")
    print_table(columns, [(one.key, _value(one.value), one.source, one.explanation) for one in values])
    typer.echo(f"{file} is fine")


@app.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("edge-es.toml"),
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A file by its name: pocket, a card such as 12gb, or 12gb-llama-3.1-8b."),
    ] = None,
    card: Annotated[
        str | None, typer.Option("--card", help="The card's memory: 8gb, 12gb, 16gb, 24gb, or none.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model, such as qwen2.5-3b or llama-3.1-8b.")] = None,
    purpose: Annotated[str | None, typer.Option("--for", help="What for: chat, teach or serve.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a configuration file to start from; an existing file is kept unless --force is given.

    On a terminal it asks three questions: the card's memory, the model, and what it is for. The options answer them.
    """
    from importlib.resources import files

    from service import cards

    if sys.stdin.isatty() and not as_json and (preset, card, model, purpose) == (None, None, None, None):
        card, model, purpose = _asked()
    name = _named(preset, card, model)
    if purpose is not None and purpose not in cards.PURPOSES:
        raise typer.BadParameter(f"'{purpose}'; there are {', '.join(cards.PURPOSES)}", param_hint="--for")
    text = (files("configs") / f"{name}.toml").read_text(encoding="utf-8")
    text = cards.purposed(text, purpose or "chat")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} exists already; name another file or give --force") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"file": str(file), "preset": name, "for": purpose or "chat"})
    else:
        typer.echo(f"wrote {file} ({name}); `edge-es serve --config {file}` uses it")


def _asked() -> tuple[str, str | None, str]:
    """The answers to the three questions: (card, model, purpose)."""
    from service import cards

    memory = _one_of("Memory of the card", [*cards.CARDS, "none"], "none")
    model = None
    if memory != "none":
        fitting = [name for name in cards.MODELS if (memory, name) not in cards.LEFT_OUT]
        model = _one_of("Model", fitting, cards.FIRST[memory])
    for purpose, told in cards.PURPOSES.items():
        typer.echo(f"  {purpose}: {told}")
    return memory, model, _one_of("What for", list(cards.PURPOSES), "chat")


def _one_of(question: str, choices: list[str], default: str) -> str:
    while True:
        said: str = typer.prompt(f"{question} ({', '.join(choices)})", default=default).strip().lower()
        if said in choices:
            return said
        typer.echo(f"'{said}' is none of them")


def _named(preset: str | None, card: str | None, model: str | None) -> str:
    """The file that is meant. Raises BadParameter for what does not exist or does not fit."""
    from service import cards

    if preset is not None:
        if card is not None or model is not None:
            raise typer.BadParameter("it stands for --card and --model together", param_hint="--preset")
        name = cards.preset(preset) if preset in cards.CARDS else preset
        if name not in cards.names():
            known = ", ".join([*cards.CARDS, *cards.names()])
            raise typer.BadParameter(f"'{preset}'; there are {known}", param_hint="--preset")
        return name
    if card in (None, "none"):
        if model is not None:
            raise typer.BadParameter("it needs --card", param_hint="--model")
        return "pocket"
    if card not in cards.CARDS:
        raise typer.BadParameter(f"'{card}'; there are {', '.join(cards.CARDS)} and none", param_hint="--card")
    if model is not None and model not in cards.MODELS:
        raise typer.BadParameter(f"'{model}'; there are {', '.join(cards.MODELS)}", param_hint="--model")
    if (card, model) in cards.LEFT_OUT:
        raise typer.BadParameter(f"{model} leaves no room to learn on a card of {card}", param_hint="--model")
    return cards.preset(card, model)
