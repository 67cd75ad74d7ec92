"""The ledger in the store: a row and its blobs are there together, or not at all."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from stored import event, step

from edge_es.errors import StateError
from edge_es.ledger import Row, anchor_row, head, rollback
from service import blobs
from service.store import DiskFull, Store


def test_append_stores_blobs_before_the_row_and_gives_everything_back_after_reopening(tmp_path: Path) -> None:
    data = b"input side"
    row = replace(step(1, 1), kind="basis", side=blobs.sha256(data), shaped=("0x1.8p+0",), stats={"step_norm": 0.5})
    with Store(tmp_path) as store:
        store.append(anchor_row(), {})
        store.append(row, {blobs.sha256(data): data})
    with Store(tmp_path) as store:
        assert store.rows()[1] == row
        assert store.blob(blobs.sha256(data)) == data
        assert head(store.rows()) == row


@pytest.mark.parametrize(
    ("row", "blob"),
    [
        (step(0, 1), {}),  # an attempt counted twice
        (step(1, 2), {}),  # a gap in the versions
        (step(1, 0), {}),  # a version counted twice
        (step(1, 1, ("no such event",)), {}),
        (step(1, 1), {"0" * 64: b"other bytes"}),
    ],
)
def test_a_row_that_does_not_fit_changes_nothing(store: Store, row: Row, blob: dict[str, bytes]) -> None:
    known = event()
    store.append(anchor_row(), {})
    store.add_event(known, {}, held_out=False)
    with pytest.raises(StateError):
        store.append(row, blob)
    assert len(store.rows()) == 1
    assert store.pending(1, 1) == [(known, 0)]


def test_a_blob_that_is_missing_or_damaged_is_named(store: Store) -> None:
    name = blobs.sha256(b"side")
    with pytest.raises(StateError, match=name):
        store.blob(name)
    store.append(anchor_row(), {name: b"side"})
    (store.folder / "blobs" / name).write_bytes(b"edis")
    with pytest.raises(StateError, match=f"{name}.*damaged"):
        store.blob(name)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fails_under_a_blob_leaves_no_row(store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.append(anchor_row(), {})
    name = blobs.sha256(b"side")
    with monkeypatch.context() as patch:
        patch.setattr(blobs.os, call, refuse)
        with pytest.raises(DiskFull, match=str(store.folder)):
            store.append(step(1, 1), {name: b"side"})
    assert len(store.rows()) == 1
    assert list((store.folder / "blobs").iterdir()) == []
    store.append(step(1, 1), {name: b"side"})
    assert store.blob(name) == b"side"


def test_a_rollback_with_its_consequences_is_one_transaction(store: Store) -> None:
    one = event()
    store.append(anchor_row(), {})
    store.add_event(one, {}, held_out=False)
    store.append(step(1, 1, (one.id,)), {})
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        rollback(store, 0, "dropped")
        store.set_aside([one.id], "dropped")
        raise ZeroDivisionError
    assert len(store.rows()) == 2 and store.list_events("set_aside") == []
    with store.transaction():
        rollback(store, 0, "dropped")
        store.set_aside(store.events_between(1, 1), "dropped")
    assert [row.kind for row in store.rows()] == ["anchor", "step", "rollback"]
    assert [f.id for f in store.list_events("set_aside")] == [one.id]
