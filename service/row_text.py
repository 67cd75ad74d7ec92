"""A ledger row as the store keeps it: as JSON what SQL asks for; the rest deflated, fitness as eight bytes a member.

A row is read back equal to what was written. Rows of earlier releases, which were plain JSON, are read, too.
"""

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from edge_es.rows import Row

OPEN = ("kind", "events", "side", "compacted")
_DEFAULTS: dict[str, Any] = {
    one.name: one.default_factory() if one.default_factory is not MISSING else one.default for one in fields(Row)
}


def encode(row: Row) -> tuple[str, bytes]:
    """(text, packed). Raises ValueError for what JSON cannot hold (NaN)."""
    said = {name: value for name, value in row.as_json().items() if value != _DEFAULTS[name]}
    if shaped := _packed(row.shaped):
        said["shaped"] = shaped
    text = {name: said.pop(name) for name in OPEN if name in said}
    return _dumps(text), zlib.compress(_dumps(said).encode(), 9)


def decode(text: str, packed: bytes | None) -> Row:
    """The inverse of `encode`. packed: None in rows of earlier releases."""
    said = json.loads(text)
    if packed is not None:
        said |= json.loads(zlib.decompress(packed))
    if isinstance(said.get("shaped"), str):
        data = b64decode(said["shaped"])
        said["shaped"] = [value.hex() for value in struct.unpack(f"<{len(data) // 8}d", data)]
    return Row.from_json(said)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _packed(shaped: Sequence[str]) -> str | None:
    """None where that would not read back as the same text."""
    values = [float.fromhex(value) for value in shaped]
    if not values or [value.hex() for value in values] != list(shaped):
        return None
    return b64encode(struct.pack(f"<{len(values)}d", *values)).decode()
