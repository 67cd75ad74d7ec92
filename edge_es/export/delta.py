"""The delta in edge-es's own format, with the proof of where it comes from: the ledger's rows and the blobs they name.

delta.safetensors   the packed delta (`spaces.delta.pack`)
ledger.jsonl        the rows on the way to the version, oldest first, from the anchor or the snapshot that it begins at
blobs/<sha256>      what those rows name: bases, consolidations, imports, and that snapshot
edge-es.json        the base's hash, the version, the delta's hash

Who has it can replay the rows and compare: the hash of the result must be the one that each row states. Rows hold
numbers and the ids of events, no text of anyone.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_es.errors import StateError
from edge_es.export.folder import NOTE, Origin, Written, placed, read_note, write_json, written
from edge_es.ledger import Journal, MemoryJournal, rebuild, rebuilding
from edge_es.rows import Row, published, way
from edge_es.spaces.blob import unpack
from edge_es.spaces.delta import Delta, pack


@dataclass(frozen=True)
class Proven:
    """An export that replayed. rows: how many were replayed; since: the version that the proof begins at (0: the
    anchor, else a stored snapshot)."""

    delta: Delta
    origin: Origin
    rows: int
    since: int


def export_delta(journal: Journal, version: int, target: Path, origin: Origin) -> Written:
    """Writes the delta of a version of `journal` to the folder `target`, with the rows and blobs that prove it.

    origin: what is said of where it comes from. Raises StateError where the version cannot be rebuilt, or `target` is
    taken; OSError where the disk refuses.
    """
    rows, snapshots = journal.rows(), journal.snapshots()
    start, steps = way(rows, snapshots, version)
    first = published(rows)[start]
    named = {row.side for row in steps if row.kind != "step" and row.side is not None}
    named |= {snapshots[start]} if start in snapshots else set()
    delta = rebuild(journal, version)  # what does not replay here is not handed on
    with placed(target) as partial:
        (partial / "delta.safetensors").write_bytes(pack(delta))
        lines = [json.dumps(row.as_json(), ensure_ascii=False, allow_nan=False) for row in (first, *steps)]
        (partial / "ledger.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (partial / "blobs").mkdir()
        for name in named:
            (partial / "blobs" / name).write_bytes(journal.blob(name))
        start_blob = snapshots.get(start)
        write_json(partial / NOTE, origin.note("delta", since=start, snapshot=start_blob, rows=len(steps)))
    return written("delta", target)


def read_delta(folder: Path) -> Proven:
    """The delta of the export in `folder`, fp32 on the CPU, replayed row by row: every row's hash, the file's and the
    note's must agree. Raises StateError that names what does not."""
    note = read_note(folder)
    if note is None or note.get("edge_es") != "delta":
        raise StateError(f"{folder} holds no export of kind 'delta'; `edge-es export delta DIR` makes one")
    try:
        origin = Origin(**{name: note[name] for name in Origin.__dataclass_fields__})
        rows = [Row.from_json(json.loads(line)) for line in (folder / "ledger.jsonl").read_text("utf-8").splitlines()]
        journal = _journal(folder, rows, note)
        stored = unpack((folder / "delta.safetensors").read_bytes())
        assert origin.version is not None
        for row, delta in rebuilding(journal, origin.version):
            if row.sha256 != delta.sha256:
                raise StateError(f"{folder} does not replay: version {row.version} has another delta than its row says")
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise StateError(f"{folder} is damaged ({error or type(error).__name__}); export it again") from None
    if not stored.sha256 == delta.sha256 == origin.delta_sha256:
        raise StateError(f"{folder} is damaged: delta.safetensors is not what its rows replay to; export it again")
    return Proven(delta, origin, len(rows) - 1, int(note["since"]))


def _journal(folder: Path, rows: list[Row], note: dict[str, Any]) -> MemoryJournal:
    journal = MemoryJournal()
    blobs = {}
    for path in (folder / "blobs").iterdir():
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.name:
            raise StateError(f"{path} is damaged: it does not hash to its name; export it again")
        blobs[path.name] = data
    for row in rows:
        journal.append(row, blobs)
    if note["snapshot"] is not None:
        journal.save_snapshot(int(note["since"]), blobs[note["snapshot"]])
    return journal
