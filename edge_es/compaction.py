"""What of a ledger may go, so that the last versions can still be rebuilt. Plain values: decides, and drops nothing.

Snapshots come every so many rows of the line that is served, so that a rebuild is short. Once a version is older than
those that are kept, the rows and snapshots that only it needs are dropped; its row stays, as a line of history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_es.rows import WHOLE, Row, published

MOST_ROWS = 100  # between two snapshots of a line
SHARE = 5  # snapshots in the versions that are kept, about, where those are few


@dataclass(frozen=True)
class Compaction:
    """rows: versions that are not to be replayed any more. snapshots: versions whose snapshot goes."""

    rows: frozenset[int]
    snapshots: frozenset[int]


def spacing(keep: int) -> int:
    """Rows after which a line gets another snapshot, if so many versions are kept."""
    return max(1, min(MOST_ROWS, keep // SHARE))


def oldest(newest: int, keep: int, wanted: Iterable[int]) -> int:
    """The oldest version to be kept: `keep` behind the newest one, and none of `wanted` is lost. The anchor needs no
    row, so that it is never what holds others back."""
    return max(0, min([newest - keep, *(version for version in wanted if version > 0)]))


def plan(rows: Sequence[Row], snapshots: Mapping[int, str], first: int) -> Compaction:
    """What may go if every version from `first` on is to be rebuilt as before."""
    versions = published(rows)
    needed: set[int] = set()  # rows
    bases = {version for version in snapshots if version >= first}
    for at in [version for version in versions if version >= first]:
        while at and at not in needed:
            if at in snapshots:
                bases.add(at)
                break
            row = versions[at]
            needed.add(at)
            if row.kind in WHOLE:
                break
            before = row.target if row.kind == "rollback" else row.parent
            assert before is not None
            at = before
    gone = {version for version, row in versions.items() if 0 < version < first and not row.compacted}
    return Compaction(frozenset(gone - needed), frozenset(set(snapshots) - bases))
