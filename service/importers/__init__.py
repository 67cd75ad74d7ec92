"""Feedback that people have given elsewhere, as bodies of `POST /v1/feedback`. One file a format.

A format is a function of a file's text that yields `Row`s: what a place in the file says, or why it says nothing that
can be sent. It opens no file and no connection.
"""

import csv
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_es.errors import InputError

NAMESPACE = uuid.UUID("0f4d3a52-7f5e-5b0a-8a3c-5f0f4b1f6c77")  # any fixed one: ids must not change between releases


@dataclass(frozen=True)
class Row:
    """One place of a file. number: its line, or its place in a JSON list, from 1. body: without an id, or None.

    refusal: why there is no body. key: what makes the row the same in a later export; default: its body.
    """

    number: int
    body: Mapping[str, Any] | None = None
    refusal: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Converted:
    """bodies: with ids, each with the row that it comes from. refusals: {"line", "message"}."""

    bodies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)


Metrics = Mapping[str, Literal["boolean", "float"]]  # name -> type, of the metrics that the daemon has
RAGGED = "it has more or fewer cells than the head; texts with a comma stand in quotes"


def convert(rows: Iterator[Row], source: str) -> Converted:
    """Bodies with ids that follow from what they say and from their key, and tags.source where there is none.

    The same row in two exports has one id, so that the second sends nothing twice; a rating that was changed since has
    another, and counts as another event.
    """
    found = Converted()
    seen = set()
    for row in rows:
        if row.body is None:
            found.refusals.append({"line": row.number, "message": row.refusal or "nothing that can be sent"})
            continue
        tags = row.body.get("tags") or {}
        if not isinstance(tags, dict):
            found.refusals.append({"line": row.number, "message": "`tags` must be an object of texts"})
            continue
        body = {**row.body, "tags": {"source": source, **tags}}
        said = json.dumps([row.key, row.body], sort_keys=True, ensure_ascii=False)
        body.setdefault("id", str(uuid.uuid5(NAMESPACE, f"{source}\n{said}")))
        if body["id"] not in seen:
            seen.add(body["id"])
            found.bodies.append((row.number, body))
    return found


def records(text: str) -> Iterator[tuple[int, Any]]:
    """The objects of a JSON list, of JSON Lines, or of a CSV with a head, whichever the text is; with their places.

    Of an object {"data": [...]} (a page of an API) those of the list. Broken lines, and rows of a table that have more
    or fewer cells than its head, come as ValueErrors. Raises InputError for what is none of them.
    """
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start == "[" or (start == "{" and _is_one(text)):
        try:
            found = json.loads(text.lstrip("\ufeff"), parse_constant=_refused)
        except json.JSONDecodeError as error:
            raise InputError(f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
        except ValueError as error:
            raise InputError(str(error)) from None
        found = found.get("data", [found]) if isinstance(found, dict) else found
        if not isinstance(found, list):
            raise InputError('a JSON file must hold a list of objects, or {"data": [...]}')
        yield from enumerate(found, 1)
    elif start == "{":
        for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
            if line.strip():
                try:
                    yield number, json.loads(line, parse_constant=_refused)
                except json.JSONDecodeError as error:
                    yield number, ValueError(f"no JSON: {error.msg} at character {error.pos + 1}")
                except ValueError as error:
                    yield number, error
    elif start:
        # Not str.splitlines: a text may hold line ends that are none to CSV, such as U+2028.
        reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
        try:
            for row in reader:
                whole = None not in row and None not in row.values()
                yield reader.line_num, row if whole else ValueError(RAGGED)
        except csv.Error as error:
            raise InputError(f"line {reader.line_num}: no CSV: {error}") from None


def _refused(name: str) -> float:
    """NaN and the infinities, which Python's parser would take."""
    raise ValueError(f"{name} is no JSON number")


def _is_one(text: str) -> bool:
    """Whether the whole text is one JSON object, not a line of many."""
    try:
        return isinstance(json.loads(text.lstrip("\ufeff")), dict)
    except json.JSONDecodeError:
        return False
