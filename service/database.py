"""One SQLite file in a state folder: connection, transactions, lock file. Knows no tables.

SQLite up to 3.51.2 can lose a commit when two connections write and checkpoint: so exactly one connection
writes, behind a lock, and others open the file read-only. WAL with synchronous=FULL: what COMMIT returned from
survives a power cut.
"""

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Self, TypeVar

from edge_es.errors import EdgeError, StateError
from service import group, migrations

T = TypeVar("T")

FILE = "edge-es.sqlite"
LOCK = "lock"


class DiskFull(StateError):
    """The disk has no room. Nothing of the refused write was stored."""


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the disk or SQLite refuses into one clear line: DiskFull, or StateError otherwise."""
    full = DiskFull(f"the disk that holds {folder} is full; nothing was stored: free some space and send it again")
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise full from error
        raise StateError(f"the database in {folder} refused: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StateError(f"the database in {folder} refused: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from error
        raise StateError(f"state folder {folder}: {error}") from error


def take_lock(folder: Path) -> FileIO:
    """Holds the folder for this process until the file is closed or the process ends.

    Raises StateError that names the folder and the process that holds it.
    """
    file = (folder / LOCK).open("a+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode().strip() or "unknown"
        file.close()
        raise StateError(
            f"state folder {folder} is in use by process {holder}; stop it, or take another by --state-dir"
        ) from None
    try:
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n".encode())
    except OSError:
        file.close()
        raise
    return file


class Database:
    """The connection of one process. All methods may be called from any thread."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        """Opens and migrates, taking the folder's lock; with `read_only` changes nothing and takes none.

        Raises StateError: another daemon holds the folder, it is absent (read_only), or of another release.
        """
        self.folder = folder
        self.read_only = read_only
        self._mutex = threading.RLock()
        self._depth = 0
        self._owner: int | None = None  # the thread that is in a transaction
        self._group = group.Queue(self._mutex)
        self._lock: FileIO | None = None
        self.unread = 0  # bytes of the log that the last process left
        with disk_errors(folder):
            self._db = self._open_to_read() if read_only else self._open_to_write()

    @classmethod
    def open_read_only(cls, folder: Path) -> Self:
        """A reader beside a running daemon, or of a folder at rest; never writes to it."""
        return cls(folder, read_only=True)

    def _open_to_read(self) -> sqlite3.Connection:
        path = self.folder / FILE
        if not path.exists():
            raise StateError(f"state folder {self.folder} holds no edge-es state; `edge-es serve` makes one")
        # At rest there is no log beside the file; `immutable` then keeps SQLite from making one.
        rest = "" if path.with_name(FILE + "-wal").exists() else "&immutable=1"
        uri = f"{path.absolute().as_uri()}?mode=ro{rest}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            migrations.check(db, str(path))
        except (StateError, sqlite3.DatabaseError):
            db.close()
            raise
        return db

    def _open_to_write(self) -> sqlite3.Connection:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "blobs").mkdir(mode=0o700, exist_ok=True)
        self._lock = take_lock(self.folder)
        log = self.folder / f"{FILE}-wal"
        self.unread = log.stat().st_size if log.exists() else 0
        db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            migrations.migrate(db, str(self.folder / FILE))
        except (StateError, sqlite3.DatabaseError):
            db.close()
            self._lock.close()
            raise
        return db

    def close(self) -> None:
        """Closes the file and lets the folder go."""
        with self._mutex:
            self._db.close()
            if self._lock:
                self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All writes inside are durable together when the outermost one ends, or none is. May be nested.

        Raises DiskFull where the disk is full, StateError on other refusals; an exception undoes the block it leaves.
        """
        with self._mutex, disk_errors(self.folder):
            begin, commit, rollback = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
            if self._depth:
                name = f"level{self._depth}"
                begin, commit = f"SAVEPOINT {name}", f"RELEASE {name}"
                rollback = f"ROLLBACK TO {name}"
            self._db.execute(begin)
            self._depth += 1
            self._owner = threading.get_ident()
            try:
                yield self._db
                self._db.execute(commit)
            except BaseException:
                if self._db.in_transaction:  # a full disk may already have rolled everything back
                    self._db.execute(rollback)
                raise
            finally:
                self._depth -= 1
                if not self._depth:
                    self._owner = None

    def together(self, write: Callable[[], T]) -> T:
        """What `write` returns, durable: in one commit with what other threads ask for meanwhile. Inside a transaction
        of this thread it is a part of that one.

        What one of them raises undoes its own part alone. Raises DiskFull where the disk is full, StateError on other
        refusals; nothing of this write was stored then.
        """
        if self._owner == threading.get_ident():
            with self.transaction():
                return write()
        found: T = self._group.do(write, self._commit)
        return found

    def _commit(self, writes: Sequence[group.Write]) -> None:
        with self.transaction():
            for write in writes:
                try:
                    with self.transaction():
                        write.run()
                except EdgeError as error:
                    if not self._db.in_transaction:  # SQLite has undone all of them, as it may on a full disk
                        raise
                    write.fail(error)

    def query(self, sql: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        """All rows of one SELECT."""
        with self._mutex, disk_errors(self.folder):
            return self._db.execute(sql, named or values).fetchall()

    def query_one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of one SELECT, if any."""
        rows = self.query(sql, *values)
        return rows[0] if rows else None
