"""Exports and imports of a state folder, the same for the daemon and for a stopped one. Changes nothing but by `adopt`.

Over the API they are named, not placed: exports lie in the state folder's `exports/`, imports are read from `imports/`.
A path that came over the network would let the holder of a token write and read anywhere as the daemon's user, which
a hardened service cannot in any case; who has the folder moves things in and out of those two (`edge-es export`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_es.errors import InputError, StateError
from service.database import disk_errors
from service.store import Store

if TYPE_CHECKING:
    from edge_es.ledger import Journal
    from edge_es.model import Base
    from edge_es.rows import Row
    from edge_es.spaces.delta import Delta

ExportKind = Literal["peft", "merged", "delta"]
ImportKind = Literal["peft", "delta"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LOOKS = 3  # at a ledger that is compacted while a version of it is read
EXPORTS, IMPORTS = "exports", "imports"


@dataclass(frozen=True)
class Wanted:
    """What is to be exported. version: None: the one that is served. rank, base_name: of an adapter, as in
    `edge_es.export.export_peft`."""

    kind: ExportKind
    version: int | None = None
    rank: int | None = None
    base_name: str | None = None


@dataclass(frozen=True)
class Read:
    """What an import brings. stats: of its row, beside what every row of the kind has."""

    delta: "Delta"
    reason: str
    stats: dict[str, Any]


def place(folder: Path, inside: str, name: str) -> Path:
    """`folder`/`inside`/`name`. Raises InputError for what is no plain name."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"'{name[:80]}' is no name: 1 to 64 letters, digits, '.', '_', '-', first a letter or digit", "name"
        )
    return folder / inside / name


def export(base: "Callable[[], Base]", store: Store, wanted: Wanted, target: Callable[[int], Path]) -> dict[str, Any]:
    """Writes an export to `target(version)`: {kind, version, path, files, bytes, notes}. base: called where it is
    needed, which is not for a delta. Raises StateError, DiskFull."""
    from edge_es.ledger import Still

    for look in range(LOOKS):
        still = Still.of(store)
        try:
            return _export(base, store, still, wanted, target)
        except StateError:
            if look == LOOKS - 1 or Still.of(store) == still:
                raise
    raise AssertionError("unreachable")


def _export(
    base: "Callable[[], Base]", store: Store, journal: "Journal", wanted: Wanted, target: Callable[[int], Path]
) -> dict[str, Any]:
    from edge_es import ledger
    from edge_es.export import Origin, export_delta, export_merged, export_peft
    from edge_es.export.folder import require_free

    bound = store.model_binding()
    if bound is None:
        raise StateError(f"state folder {store.folder} was never used; start the daemon on it once")
    version = ledger.head(journal.rows()).version if wanted.version is None else wanted.version
    assert version is not None
    path = target(version)
    require_free(path)  # before anything that takes time
    delta = ledger.rebuild(journal, version)
    origin = Origin(bound.ref, bound.quantization, bound.sha256, version, delta.sha256)
    with disk_errors(path.parent):
        if wanted.kind == "delta":
            made = export_delta(journal, version, path, origin)
        elif wanted.kind == "merged":
            made = export_merged(base(), delta, path, origin)
        else:
            made = export_peft(base(), delta, path, origin, wanted.rank, wanted.base_name)
    return {"version": version, **made.as_json()}


def read_import(base: "Base", kind: ImportKind, folder: Path, any_base: bool) -> Read:
    """Reads an import whole. Raises InputError, StateError."""
    from edge_es.export import read_delta, read_peft
    from edge_es.spaces.adapter import rank

    if kind == "peft":
        delta = read_peft(base, folder, any_base)
        return Read(delta, "a PEFT adapter was imported", {"imported": kind, "rank": rank(delta)})
    found = read_delta(folder)
    if found.origin.base_sha256 != base.sha256:
        raise InputError(
            f"{folder} was learned on {found.origin.model} ({found.origin.quantization}), this is {base.ref} "
            f"({base.quantization}) with other weights; a delta belongs to its base alone"
        )
    low = found.delta.parts and found.delta.active.basis.kind == "adapter"
    stats = {
        "imported": kind,
        "rank": rank(found.delta) if low else None,
        "of_version": found.origin.version,
        "replayed": found.rows,
    }
    return Read(found.delta, f"version {found.origin.version} of another state was imported", stats)


def adopted(row: "Row") -> dict[str, Any]:
    """What is said of the version that an import has become."""
    return {
        "version": row.version,
        "rank": row.stats["rank"],
        "delta_norm": row.stats["delta_norm"],
        "sha256": row.sha256,
    }
