"""Records: what a run found, one JSON file each, written whole or not at all and not made twice."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def kept(path: Path, key: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record at `path`, if it was made with these settings, which it holds under `key`; None otherwise."""
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record.get(key) == json.loads(json.dumps(settings)) else None


def made(path: Path, key: str, settings: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record at `path`, made if there is none with these settings."""
    found = kept(path, key, settings)
    if found is None:
        found = make()
        keep(path, found)
    return found


def keep(path: Path, record: Mapping[str, Any]) -> None:
    """Writes it, in a folder that need not exist. Raises ValueError for numbers that are no JSON."""
    text = json.dumps(record, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
