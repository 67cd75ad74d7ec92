"""docs/reference/: `python -m service.reference` writes the command line's and the API's reference from the code.

A test compares, so that they cannot drift.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MADE = "<!-- made by `python -m service.reference`; a test holds it to the code -->"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# the command line


def cli() -> str:
    """Every command with its options."""
    import typer.main

    from service.cli.main import app

    lines = ["# Commands", MADE, "", "All take `--json`. Exit status: 0 done, 1 failed, 2 not asked right.", ""]
    lines += _commands(typer.main.get_command(app), "edge-es")
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: Any, name: str) -> Iterator[str]:
    commands = getattr(command, "commands", None)
    if commands is not None:
        for key, each in commands.items():
            yield from _commands(each, f"{name} {key}")
        return
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    shown = [_metavar(one) for one in arguments]
    yield f"## `{' '.join([name, *shown])}`"
    yield ""
    yield " ".join((command.help or "").split())
    yield ""
    rows = [_row(one, f"`{_metavar(one)}`") for one in arguments if getattr(one, "help", None)]
    rows += [
        _row(one, f"`{', '.join([*one.opts, *one.secondary_opts])}`") for one in command.params if one not in arguments
    ]
    if rows:
        yield "| option | what | default |"
        yield "| --- | --- | --- |"
        yield from rows
        yield ""


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper().removesuffix("_")
    name = f"{name}..." if argument.nargs != 1 and not name.endswith("...") else name
    return name if argument.required else f"[{name.strip('[]')}]"


def _row(option: Any, shown: str) -> str:
    default = option.default
    if callable(default) or default in (None, False, ()) or str(default).endswith("UNSET"):
        default = ""
    default = getattr(default, "value", default)
    return f"| {shown} | {_cell(option.help or '')} | {f'`{default}`' if default != '' else ''} |"


# the API


def api() -> str:
    """Every address with what it takes and answers, from the OpenAPI document."""
    found = described()
    lines = ["# HTTP API", MADE, ""]
    lines += [
        "`GET /openapi.json` of a running daemon is this in full, with its own model and metrics. Errors everywhere: "
        '`{"error": {"message", "type", "param", "code"}}`. "admin" and "chat" name the token that is asked for '
        "(`Authorization: Bearer TOKEN`); on loopback, chat needs none.",
        "",
    ]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            lines += _operation(method, path, operation)
    lines += ["# Schemas", ""]
    for name, schema in sorted(found["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def described() -> dict[str, Any]:
    """The OpenAPI document of a daemon with the defaults, that was never started."""
    from tempfile import TemporaryDirectory
    from typing import cast

    from edge_es.config import Config
    from service.app import create_app
    from service.context import Engine
    from service.openapi import document
    from service.store import Store

    # Nothing is asked of it, and it tells nothing.
    engine = cast(Engine, SimpleNamespace(ready=False, failure=None, subscribe=lambda listener: lambda: None))
    with TemporaryDirectory() as folder, Store(Path(folder) / "state") as store:
        application = create_app(Config(), store, engine)
        return document(application, application.state.context)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    asked = {"open": "none", "chat": "chat"}.get(operation["tags"][0], "admin")
    yield f"## `{method.upper()} {path}`"
    yield ""
    yield f"{_cell(operation.get('description', ''))} Token: {asked}."
    yield ""
    for parameter in operation.get("parameters", []):
        schema = parameter.get("schema", {})
        told = ", ".join(filter(None, (parameter.get("description"), _kind(schema))))
        yield f"- `{parameter['name']}` ({parameter['in']}): {_cell(told)}"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"- takes {kind}: {_kind(content.get('schema', {}))}"
    for status, response in operation["responses"].items():
        kinds = [f"{kind}: {_kind(content.get('schema', {}))}" for kind, content in response.get("content", {}).items()]
        if str(status).startswith("2"):
            yield f"- answers {status}, {'; '.join(kinds) or 'nothing'}"
    refused = [str(status) for status in operation["responses"] if not str(status).startswith("2")]
    yield f"- refuses with {', '.join(refused)}"
    yield ""


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    if schema.get("description"):
        yield _cell(schema["description"])
        yield ""
    variants = schema.get("anyOf", []) if not schema.get("properties") else [schema]
    for variant in variants or [schema]:
        if variant.get("title") and variant is not schema:
            yield f"{variant['title']}:"
            yield ""
        required = set(variant.get("required", ()))
        for key, one in variant.get("properties", {}).items():
            if one == {"type": "null"}:
                continue
            told = _cell(one.get("description", ""))
            yield f"- `{key}`{'' if key in required else '?'}: {_kind(one)}{f' ({told})' if told else ''}"
        yield ""


def _kind(schema: Any) -> str:
    """A schema in a few words."""
    if not isinstance(schema, Mapping) or not schema:
        return "anything"
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "const" in schema:
        return f"`{schema['const']!r}`"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in schema[key]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items'))}"
    return str(schema.get("format") or schema.get("type") or "anything")


def main(folder: Path) -> None:
    """Writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cli.md").write_text(cli(), encoding="utf-8")
    (folder / "api.md").write_text(api(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
