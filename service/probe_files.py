"""Where suites lie, and suites from what people have: JSON Lines as they are, tables (CSV) as lines. Knows no model.

Columns of a CSV: `prompt` with `answer`, or with `choices` (a JSON list, or texts with | between) and `label` (the
index of the right one, or its text); or `text` alone. `raw`, `kind`, `grader` (JSON) and `id` as in a line.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_es.config import Config
from edge_es.errors import InputError

COLUMNS = frozenset(
    {
        "prompt",
        "messages",
        "answer",
        "choices",
        "label",
        "text",
        "raw",
        "kind",
        "grader",
        "id",
        "max_tokens",
        "delimiter",
    }
)
_JSON = frozenset({"messages", "grader", "raw", "max_tokens"})


def suite_paths(ref: str, config: Config, folder: Path) -> list[Path]:
    """The files of the prior suites of the model `ref`: those added to the state folder, and the configured ones
    ('auto': those that ship with the model). Raises InputError for a task of the harness, which must be added first."""
    paths = sorted((folder / "probes").glob("*.jsonl"))
    for name in config.probes.suites:
        if name.startswith("lm-eval:"):
            raise InputError(
                f"probes.suites: `edge-es probe add {name}` adds it, which fixes its items", "probes.suites"
            )
        if name != "auto":
            paths.append(Path(name).expanduser())
        elif ref == "pocket":
            from edge_es.pocket import PROBES_DIR

            paths += sorted(PROBES_DIR.glob("*.jsonl"))
    return paths


def lines_of(path: Path) -> bytes:
    """The file as JSON Lines. Raises InputError naming the file and the line."""
    content = path.read_bytes()
    if path.suffix.lower() != ".csv":
        return content
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"probe file {path}: it is not UTF-8; save it as CSV UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    unknown = sorted(set(reader.fieldnames or ()) - COLUMNS)
    if unknown:
        raise InputError(
            f"probe file {path}: there is no column '{unknown[0]}'; known are {', '.join(sorted(COLUMNS))}"
        )
    found = []
    try:
        for row in reader:
            try:
                found.append(json.dumps(_line(row), ensure_ascii=False))
            except ValueError as error:
                raise InputError(f"probe file {path}, line {reader.line_num}: {error}") from None
    except csv.Error as error:
        raise InputError(f"probe file {path}, line {reader.line_num}: no CSV: {error}") from None
    return "".join(line + "\n" for line in found).encode()


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ValueError("it has more or fewer cells than the head")
    line: dict[str, Any] = {key: value for key, value in row.items() if value != ""}
    for key in _JSON & line.keys():
        try:
            line[key] = json.loads(line[key].lower() if key == "raw" else line[key])
        except json.JSONDecodeError:
            raise ValueError(f"`{key}` is no JSON") from None
    if "choices" in line:
        line["choices"] = _choices(line["choices"])
        line["label"] = _label(line.get("label", ""), line["choices"])
    return line


def _choices(cell: str) -> list[str]:
    if cell.lstrip().startswith("["):
        try:
            found = json.loads(cell)
        except json.JSONDecodeError:
            raise ValueError("`choices` is neither a JSON list nor texts with | between") from None
        return list(found)
    return [choice.strip() for choice in cell.split("|")]


def _label(cell: str, choices: list[str]) -> int:
    if cell in choices:
        return choices.index(cell)
    try:
        return int(cell)
    except ValueError:
        raise ValueError(f"`label` '{cell[:40]}' is neither an index nor one of the choices") from None
