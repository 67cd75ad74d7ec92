"""The append-only record from which every version can be rebuilt bit for bit.

A row is one attempt: published (it has a version) or rejected by a gate (it has none, and stays as a record). Steps
are replayed by elementwise fp32 arithmetic alone; input sides, consolidations and imports are stored blobs, since
they come from eigendecompositions, which differ between machines. A replay begins at a snapshot, a stored delta, where
there is one. Knows no database: a `Journal` keeps the rows.
"""

import hashlib
import json
import logging
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edge_es.errors import StateError
from edge_es.rows import WHOLE, Kind, Row, anchor_row, compacted, head, line, now, published, since, undone, way

if TYPE_CHECKING:
    from edge_es.spaces.delta import Delta

__all__ = [
    "WHOLE",
    "Journal",
    "Kind",
    "MemoryJournal",
    "Row",
    "anchor_row",
    "apply_row",
    "compacted",
    "head",
    "line",
    "now",
    "published",
    "rebuild",
    "rebuilding",
    "replay",
    "rollback",
    "rollback_row",
    "since",
    "snapshot",
    "undone",
    "verify",
    "way",
]

LOOKS = 3  # at a ledger that is compacted while it is verified
# What reading a damaged row or blob raises.
DAMAGE = (StateError, zlib.error, struct.error, ValueError, LookupError, TypeError, AttributeError, AssertionError)

log = logging.getLogger(__name__)


class Journal(Protocol):
    """What the ledger needs of a store."""

    def rows(self) -> list[Row]:
        """All attempts, oldest first."""
        ...

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        """Durable and atomic when it returns: the blobs first, then the row with its events' uses."""
        ...

    def blob(self, sha256: str) -> bytes:
        """The stored bytes. Raises StateError if they are absent or do not hash to their name."""
        ...

    def snapshots(self) -> Mapping[int, str]:
        """version -> the blob of its delta, for those from which a rebuild may begin."""
        ...


class MemoryJournal:
    """A journal without a disk, for library use and tests."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._blobs: dict[str, bytes] = {}
        self._snapshots: dict[int, str] = {}

    def rows(self) -> list[Row]:
        return list(self._rows)

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        json.dumps(row.as_json(), allow_nan=False)  # what no journal on a disk could keep is refused here, too
        self._blobs.update(blobs)
        self._rows.append(row)

    def blob(self, sha256: str) -> bytes:
        return self._blobs[sha256]

    def snapshots(self) -> dict[int, str]:
        return dict(self._snapshots)

    def save_snapshot(self, version: int, data: bytes) -> None:
        """`data`: the packed delta of the version."""
        self._snapshots[version] = hashlib.sha256(data).hexdigest()
        self._blobs[self._snapshots[version]] = data

    def compact(self, versions: Iterable[int], snapshots: Iterable[int]) -> None:
        """Drops what a replay of these versions needs, and these snapshots."""
        gone = set(versions)
        self._rows = [row.stripped() if row.version in gone else row for row in self._rows]
        for version in snapshots:
            del self._snapshots[version]
        named = {row.side for row in self._rows if row.kind != "step" and not row.compacted}
        named |= set(self._snapshots.values())
        self._blobs = {name: data for name, data in self._blobs.items() if name in named}


def apply_row(delta: "Delta", row: Row, earlier: Mapping[int, "Delta"], journal: Journal) -> "Delta":
    """The delta after `row`, from the delta of its parent. Raises StateError where the ledger does not fit."""
    from edge_es import noise, strategy
    from edge_es.spaces.blob import unpack
    from edge_es.spaces.delta import Delta

    if row.kind == "anchor":
        return Delta()
    if row.compacted:
        raise StateError(compacted(row.version or 0, journal.rows(), journal.snapshots()))
    if row.kind == "rollback":
        assert row.target is not None
        return earlier[row.target]
    if row.kind == "basis":
        assert row.side is not None
        return delta.with_basis(unpack(journal.blob(row.side)).parts[0].basis)
    if row.kind in WHOLE:
        assert row.side is not None
        return unpack(journal.blob(row.side))
    if row.generator != noise.GENERATOR:
        raise StateError(
            f"version {row.version} was made with noise generator {row.generator}, this is {noise.GENERATOR}; "
            "use the release that wrote it"
        )
    if row.side != delta.active.basis.sha256:
        raise StateError(f"version {row.version} used basis {row.side}, the replay is at another")
    shaped = [float.fromhex(value) for value in row.shaped]
    guards = {name: float.fromhex(value) for name, value in row.guards.items()}
    return strategy.apply(delta, row.seed, row.step, shaped, float.fromhex(row.alpha), guards, row.pairs)


def snapshot(journal: Journal, version: int) -> "Delta":
    """The delta that is stored for a version, on the CPU. Raises StateError where there is none, or it is damaged."""
    from edge_es.spaces.blob import unpack

    return unpack(journal.blob(journal.snapshots()[version]))


def replay(journal: Journal) -> Iterator[tuple[Row, "Delta"]]:
    """Each published row that can be rebuilt with its delta, on the CPU, oldest first. A snapshot is read only where
    what came before it was compacted. Raises StateError for a row that cannot be replayed."""
    from edge_es.spaces.delta import Delta

    rows, snapshots = published(journal.rows()), journal.snapshots()
    # Only deltas that a later rollback goes back to are kept, so memory does not grow with the ledger.
    targets = {row.target for row in rows.values() if not row.compacted}
    earlier: dict[int, Delta] = {}
    delta: Delta | None = None
    for version in sorted(rows):
        row = rows[version]
        known = row.kind in ("anchor", "rollback", *WHOLE) or delta is not None
        if not row.compacted and known and (row.kind != "rollback" or row.target in earlier):
            delta = apply_row(delta or Delta(), row, earlier, journal)
        else:
            delta = snapshot(journal, version) if version in snapshots else None
        if delta is None:
            if not row.compacted:
                raise StateError(f"version {version} does not replay: what it stands on was compacted")
            continue
        if version in targets:
            earlier[version] = delta
        yield row, delta


def rebuilding(journal: Journal, version: int) -> Iterator[tuple[Row, "Delta"]]:
    """The way to one version, row by row from where it begins; the last is the version itself, checked against its
    recorded sha256. Raises StateError."""
    from edge_es.spaces.delta import Delta

    rows, snapshots = journal.rows(), journal.snapshots()
    start, steps = way(rows, snapshots, version)
    delta = snapshot(journal, start) if start in snapshots else Delta()
    versions = published(rows)
    for row in [versions[start], *steps]:
        if row.version != start and row.kind != "rollback":  # on a line a rollback follows its target
            delta = apply_row(delta, row, {}, journal)
        if row.version == version and delta.sha256 != row.sha256:
            raise StateError(f"version {version} does not replay to its recorded delta; run `edge-es verify`")
        yield row, delta


def rebuild(journal: Journal, version: int) -> "Delta":
    """The delta of one version, checked against its recorded sha256. Raises StateError."""
    for row, delta in rebuilding(journal, version):
        if row.version == version:
            found = delta
    return found


@dataclass(frozen=True)
class Still:
    """A journal as it was at one moment, while another thread goes on with it."""

    journal: Journal
    kept: list[Row]
    stored: Mapping[int, str]

    @staticmethod
    def of(journal: Journal) -> "Still":
        """As it is now."""
        return Still(journal, journal.rows(), journal.snapshots())

    def rows(self) -> list[Row]:
        return self.kept

    def snapshots(self) -> Mapping[int, str]:
        return self.stored

    def blob(self, sha256: str) -> bytes:
        return self.journal.blob(sha256)

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        raise AssertionError("nothing is added to the past")


def verify(journal: Journal) -> dict[str, int]:
    """Replays all that was not compacted, and reads every snapshot: {"versions", "replayed", "mismatches",
    "compacted": those that cannot be replayed any more, "since": the version from which on all were}.

    What is damaged so that it cannot be read counts as mismatches, with all that stands on it, and the log says why.
    """
    found = {"versions": 0, "replayed": 0, "mismatches": 1, "compacted": 0, "since": 0}
    for _ in range(LOOKS + 1):
        try:
            still = Still.of(journal)
            found = _verified(still)
            if not found["mismatches"] or Still.of(journal) == still:
                break
        except DAMAGE as error:
            log.warning("the ledger cannot be read: %s", error)
            break
    return found


def _verified(journal: Still) -> dict[str, int]:
    versions, stored = published(journal.rows()), journal.snapshots()
    compacted = sum(row.compacted and version not in stored for version, row in versions.items())
    replayed = mismatches = 0
    try:
        for row, delta in replay(journal):
            replayed += 1
            mismatches += delta.sha256 != row.sha256
    except DAMAGE as error:
        log.warning("the replay ends after %d versions: %s", replayed, error)
        mismatches += max(1, len(versions) - compacted - replayed)
    mismatches += sum(not _is_whole(journal, at, versions) for at in stored)
    return {
        "versions": len(versions),
        "replayed": replayed,
        "mismatches": mismatches,
        "compacted": compacted,
        "since": since(journal.rows(), stored),
    }


def _is_whole(journal: Still, version: int, versions: Mapping[int, Row]) -> bool:
    try:
        return snapshot(journal, version).sha256 == versions[version].sha256
    except DAMAGE as error:
        log.warning("the snapshot of version %d cannot be read: %s", version, error)
        return False


def rollback_row(journal: Journal, target: int, reason: str, stats: Mapping[str, Any] | None = None) -> Row:
    """The row that takes the delta of version `target` as a new version. `stats`: what was found out on the way to it
    (`bisection.Blame.stats`). Raises StateError if there is no such version."""
    rows = journal.rows()
    versions = published(rows)
    newest = head(rows)
    assert newest.version is not None
    if target not in versions:
        raise StateError(f"version {target} does not exist; `edge-es versions` lists what does")
    if target == newest.version:
        raise StateError(f"version {target} is the one that is served; name an earlier one")
    way(rows, journal.snapshots(), target)
    return Row(
        attempt=rows[-1].attempt + 1,
        version=newest.version + 1,
        parent=newest.version,
        kind="rollback",
        created_at=now(),
        sha256=versions[target].sha256,
        stats=stats or {},
        reason=reason,
        target=target,
    )


def rollback(journal: Journal, target: int, reason: str, stats: Mapping[str, Any] | None = None) -> Row:
    """Appends `rollback_row`: a new version with an old delta, never a rewrite of history."""
    row = rollback_row(journal, target, reason, stats)
    journal.append(row, {})
    return row
