"""The ledger's rows, its snapshots, and the blobs that both name; what nobody names any more is removed."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_es.errors import StateError
from service import blobs
from service.clock import now
from service.database import disk_errors
from service.event_table import EventTable

if TYPE_CHECKING:
    from edge_es.rows import Row

# A step names the basis that it moved in, but is replayed without its blob.
_NAMED = """SELECT json_extract(row, '$.side') AS blob FROM ledger
            WHERE json_extract(row, '$.kind') <> 'step' AND json_extract(row, '$.compacted') IS NOT 1
            UNION SELECT blob FROM snapshots"""


class LedgerTable(EventTable):
    """The part of the store that keeps versions; implements edge_es.ledger.Journal. `repairs`: what opening the folder
    had to put right, a line each."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        super().__init__(folder, read_only)
        self.repairs: tuple[str, ...] = () if read_only else (*self._recovered(), *self._tidied())

    def rows(self) -> list["Row"]:
        """All attempts, oldest first."""
        return self._rows("SELECT row, packed FROM ledger ORDER BY attempt")

    def rows_since(self, attempt: int, limit: int = -1) -> list["Row"]:
        """The attempts after `attempt`, oldest first; at most `limit`, where it is not negative."""
        return self._rows("SELECT row, packed FROM ledger WHERE attempt > ? ORDER BY attempt LIMIT ?", attempt, limit)

    def row_of(self, version: int) -> "Row | None":
        """The attempt that made a version."""
        found = self._rows("SELECT row, packed FROM ledger WHERE version = ?", version)
        return found[0] if found else None

    def _rows(self, sql: str, *values: object) -> list["Row"]:
        from service.row_text import decode

        return [decode(row["row"], row["packed"]) for row in self.query(sql, *values)]

    def newest_version(self) -> int | None:
        """The served version; None before the anchor is recorded."""
        newest: int | None = self.query("SELECT max(version) FROM ledger")[0][0]
        return newest

    def append(self, row: "Row", blobs_by_hash: Mapping[str, bytes]) -> None:
        """Blobs first, then the row and the uses of its events in one transaction; durable when it returns.

        Raises StateError where the row does not follow the last one, names unknown events, or a blob does not hash
        to its name; DiskFull. Nothing has happened then.
        """
        from service.row_text import encode

        with self.transaction() as db:
            last = db.execute("SELECT max(attempt) AS attempt, max(version) AS version FROM ledger").fetchone()
            if last["attempt"] is not None and row.attempt <= last["attempt"]:
                raise StateError(f"attempt {row.attempt} does not follow attempt {last['attempt']}")
            expected = 0 if last["version"] is None else last["version"] + 1
            if row.version is not None and row.version != expected:
                raise StateError(f"version {row.version} does not follow; the next one is {expected}")
            for name, data in blobs_by_hash.items():
                blobs.write(self.folder / "blobs", name, data)
            db.execute("INSERT INTO ledger VALUES (?, ?, ?, ?)", (row.attempt, row.version, *encode(row)))
            if row.kind == "step":
                self._use(row.attempt, row.events, row.version is not None)

    def blob(self, sha256: str) -> bytes:
        """Raises StateError naming the blob if it is absent or damaged."""
        with disk_errors(self.folder):
            return blobs.read(self.folder / "blobs", sha256)

    def snapshots(self) -> dict[int, str]:
        """version -> the blob of its delta."""
        return {row["version"]: row["blob"] for row in self.query("SELECT version, blob FROM snapshots ORDER BY 1")}

    def save_snapshot(self, version: int, data: bytes) -> None:
        """`data`: the packed delta of a version. Durable when it returns; the blob before its name. Raises StateError
        where there is no such version, DiskFull."""
        name = blobs.sha256(data)
        with disk_errors(self.folder):
            blobs.write(self.folder / "blobs", name, data)
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (version, name, len(data), now()))

    def compact(self, versions: Iterable[int], snapshots: Iterable[int]) -> None:
        """Drops what a replay of these versions needs, and these snapshots, in one transaction; then the blobs that
        nobody names any more. What the rows say of the versions stays."""
        from service.row_text import decode, encode

        listed, dropped = json.dumps(sorted(versions)), json.dumps(sorted(snapshots))
        with self.transaction() as db:
            db.execute("DELETE FROM snapshots WHERE version IN (SELECT value FROM json_each(?))", (dropped,))
            found = db.execute(
                "SELECT attempt, row, packed FROM ledger WHERE version IN (SELECT value FROM json_each(?))", (listed,)
            ).fetchall()
            for attempt, *stored in found:
                short = encode(decode(*stored).stripped())
                db.execute("UPDATE ledger SET row = ?, packed = ? WHERE attempt = ?", (*short, attempt))
        self._sweep()

    def _sweep(self) -> int:
        """Removes the blobs that no row and no snapshot names. Returns how many there were."""
        with self._mutex, disk_errors(self.folder):  # a row that brings a blob is written under it, too
            named = {row["blob"] for row in self.query(_NAMED)}
            return len(blobs.remove(self.folder / "blobs", named))

    def _tidied(self) -> list[str]:
        with disk_errors(self.folder):
            partial = blobs.remove_partial(self.folder / "blobs")
        orphans = self._sweep()
        found = {"unfinished": len(partial), "unnamed": orphans}
        return [f"{count} {kind} blobs were removed" for kind, count in found.items() if count]

    def _recovered(self) -> list[str]:
        if not self.unread:
            return []
        return [f"the last process did not close the database; its log of {self.unread} bytes was read back"]
