"""How a worker elsewhere gets to a version: by the ledger's rows from where it is, or from where a rebuild begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_es.errors import StateError
from edge_es.ledger import Journal, line, published, way
from edge_es.rows import WHOLE, Row


@dataclass(frozen=True)
class Way:
    """since: the version that it begins at, which whoever takes it stands at; None: at `snapshot`, the blob of a delta,
    or at the anchor. rows: oldest first, without what only people read. blobs: what those rows bring, by sha256.
    version, sha256: where it ends."""

    since: int | None
    snapshot: bytes | None
    rows: tuple[Row, ...]
    blobs: Mapping[str, bytes]
    version: int
    sha256: str


Ways = Callable[[int, int | None], Way]
"""The version to get to, and the one that a worker stands at (None: it has none), to the way between them."""


def way_to(journal: Journal, version: int, at: int | None) -> Way:
    """From `at`, the version that a worker stands at (None: it has none), to `version`. Raises StateError where the
    version does not exist, or was compacted."""
    if at is not None:
        try:
            return onward(journal, journal.rows(), version, at)
        except StateError:
            pass  # a rollback went to before it: from the beginning
    rows, snapshots = journal.rows(), journal.snapshots()
    start, steps = way(rows, snapshots, version)
    snapshot = journal.blob(snapshots[start]) if start in snapshots else None
    return _made(journal, rows, None, snapshot, steps, version)


def onward(journal: Journal, rows: Sequence[Row], version: int, at: int) -> Way:
    """The same by the newest rows, from that of `at` on. Raises StateError where `at` is not on the way."""
    return _made(journal, rows, at, None, line(rows, version, at), version)


def _made(
    journal: Journal, rows: Sequence[Row], since: int | None, snapshot: bytes | None, steps: Sequence[Row], version: int
) -> Way:
    told = tuple(replace(row, stats={}, events=(), reason=None) for row in steps if row.kind != "rollback")
    blobs = {row.side: journal.blob(row.side) for row in told if row.side and row.kind in ("basis", *WHOLE)}
    sha256 = published(rows)[version].sha256
    assert sha256 is not None
    return Way(since, snapshot, told, blobs, version, sha256)
