"""Where each value of a configuration comes from, and what it is."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edge_es.config import Config, read_toml

PREFIX = "EDGE_ES_"


@dataclass(frozen=True)
class Value:
    """key: dotted. source: the file's name, the environment variable, or "default"."""

    key: str
    value: Any
    source: str
    explanation: str


def explained(config: Config, file: Path | None) -> list[Value]:
    """Every value, in the order of the tree. config: as `load(file)` gives it."""
    tree = read_toml(file) if file else {}
    return list(_values(config, (), tree, file.name if file else "file"))


def _values(section: BaseModel, path: tuple[str, ...], tree: Mapping[str, Any], name: str) -> Iterator[Value]:
    for key, info in type(section).model_fields.items():
        value, at = getattr(section, key), (*path, key)
        if isinstance(value, BaseModel):
            yield from _values(value, at, tree, name)
        elif isinstance(value, dict) and any(isinstance(one, BaseModel) for one in value.values()):
            for own, one in value.items():
                yield from _values(one, (*at, own), tree, name)
        else:
            yield Value(".".join(at), value, _source(at, tree, name), info.description or "")


def _source(path: tuple[str, ...], tree: Mapping[str, Any], name: str) -> str:
    variable = _variable(path)
    if variable:
        return variable
    return name if _has(tree, path) else "default"


def _variable(path: tuple[str, ...]) -> str | None:
    """The variable that sets it: by its own name, or as part of a whole section in JSON."""
    known = {key.upper(): key for key in os.environ}
    for length in range(len(path), 0, -1):
        found = known.get(PREFIX + "__".join(path[:length]).upper())
        if found is None:
            continue
        if length == len(path):
            return found
        try:
            whole = json.loads(os.environ[found])
        except json.JSONDecodeError:
            continue
        if isinstance(whole, dict) and _has(whole, path[length:]):
            return found
    return None


def _has(tree: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    at: Any = tree
    for key in path:
        if not isinstance(at, Mapping) or key not in at:
            return False
        at = at[key]
    return True
