"""Group commit: what waits while a commit is on its way shares the next one, and each hears its own answer."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from stored import event

from service.store import Conflict, Store
from tests.daemon.live import until


def together(
    store: Store, *writes: Callable[[], object], then: Callable[[], None] = lambda: None
) -> list["Future[object]"]:
    """Runs them while a commit is on its way, so that all of them wait for the next one; `then`: before that."""
    with ThreadPoolExecutor(len(writes)) as threads, store._mutex:
        with store.transaction():
            asked = [threads.submit(write) for write in writes]
            until(lambda: len(store._group._waiting) == len(writes), "the writes")
        then()
    return asked


class Commits:
    """The statements that begin or end a transaction, seen by SQLite itself."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        store._db.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        self.count += statement == "COMMIT"


def test_events_that_wait_share_one_commit(store: Store) -> None:
    seen = Commits(store)
    asked = together(store, *(lambda n=n: store.add_event(event(f"e{n}"), {"n": n}, False) for n in range(8)))
    assert seen.count == 2, "the one that they waited for, and theirs"
    assert all(done.result() is True for done in asked)
    assert {one.id for one, _ in store.pending(99, 1)} == {f"e{n}" for n in range(8)}
    assert store.add_event(event("e8"), {"n": 8}, False) and seen.count == 3, "one alone has its own"


def test_one_that_is_refused_keeps_no_other_from_being_stored(store: Store) -> None:
    store.add_event(event("e0"), {"n": 0}, False)
    refused, repeated, new = together(
        store,
        lambda: store.add_event(event("e0"), {"n": "other"}, False),
        lambda: store.add_event(event("e0"), {"n": 0}, False),
        lambda: store.add_event(event("e1"), {"n": 1}, False),
    )
    assert isinstance(refused.exception(), Conflict)
    assert repeated.result() is False and new.result() is True
    assert store.count_waiting() == 2


class BadCommit(sqlite3.Connection):
    """Refuses the next commits as a disk would."""

    bad = 0

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql == "COMMIT" and BadCommit.bad:
            BadCommit.bad -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return super().execute(sql, *values)


def test_a_commit_that_fails_is_acknowledged_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **more: connect(*a, **more, factory=BadCommit))
    with Store(tmp_path / "state") as store:

        def spoil_the_next() -> None:
            BadCommit.bad = 1

        writes = [lambda n=n: store.add_event(event(f"e{n}"), {"n": n}, False) for n in range(3)]
        asked = together(store, *writes, then=spoil_the_next)
        assert all("disk I/O error" in str(done.exception()) for done in asked)
        assert store.count_waiting() == 0
        assert all(write() for write in writes), "sent again, they are stored"


def test_in_a_transaction_of_its_own_thread_a_write_is_a_part_of_that(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        store.add_event(event("e0"), {}, False)
        raise ZeroDivisionError
    assert store.count_waiting() == 0
