"""Compaction: the last versions are rebuilt bit for bit whatever went before them; what is gone is said in one line."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_es import compaction, ledger
from edge_es.errors import StateError
from edge_es.ledger import MemoryJournal
from edge_es.spaces.delta import pack
from service.store import Store
from tests.ledgers import Author, Compactable

KEEP = 12


@pytest.fixture(params=["memory", "store"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Compactable]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    with Store(tmp_path / "state") as store:
        yield store


def author(journal: Compactable, seed: int = 0) -> Author:
    made = Author(journal, random.Random(seed))
    made.begin()
    return made


@pytest.mark.parametrize("seed", range(4))
def test_the_last_versions_are_rebuilt_after_any_history(journal: Compactable, seed: int) -> None:
    past = author(journal, seed)
    past.live(120, KEEP)
    first = past.compact(KEEP)
    assert first == past.version - KEEP
    for version in range(first, past.version + 1):
        assert ledger.rebuild(journal, version).sha256 == past.made[version].sha256
        assert len(ledger.way(journal.rows(), journal.snapshots(), version)[1]) <= 3 * compaction.spacing(KEEP)
    assert ledger.rebuild(journal, 0).sha256 == past.made[0].sha256
    found = ledger.verify(journal)
    assert found["mismatches"] == 0 and found["since"] <= first
    assert found["versions"] == past.version + 1 == found["replayed"] + found["compacted"]
    assert found["compacted"] > 60
    assert len(journal.snapshots()) <= 2 * compaction.SHARE + 4


def test_what_was_compacted_is_refused_by_name_and_still_listed(journal: Compactable) -> None:
    past = author(journal)
    before = [past.step(("event",)) if isinstance(journal, MemoryJournal) else past.step() for _ in range(9)]
    past.snapshot()
    assert past.compact(0) == past.version
    gone = before[3]
    said = rf"version {gone} was compacted away \(state.keep_versions .* all from version {past.version} on"
    for refused in (ledger.rebuild, lambda j, v: ledger.rollback_row(j, v, "why")):
        with pytest.raises(StateError, match=said):
            refused(journal, gone)  # type: ignore[operator]
    row = ledger.published(journal.rows())[gone]
    assert (row.compacted, row.shaped, row.sha256) == (True, (), past.made[gone].sha256)
    assert past.rollback(0) and past.step() and ledger.verify(journal)["mismatches"] == 0


def test_a_rollback_keeps_what_its_target_stands_on(journal: Compactable) -> None:
    past = author(journal)
    target = [past.step() for _ in range(4)][1]
    for _ in range(6):
        past.step()
    past.rollback(target)
    kept = past.version
    past.compact(0)
    rows = ledger.published(journal.rows())
    assert not rows[target].compacted, "nothing else brings the delta that is served"
    assert rows[target + 1].compacted
    assert ledger.rebuild(journal, kept).sha256 == past.made[target].sha256
    past.snapshot()
    past.compact(0)
    assert ledger.published(journal.rows())[target].compacted
    assert ledger.verify(journal)["replayed"] == 2, "the anchor and the snapshot"


def test_a_snapshot_that_is_not_its_version_is_a_mismatch(journal: Compactable) -> None:
    past = author(journal)
    wrong = pack(past.delta)
    past.step()
    past.step()
    journal.save_snapshot(past.version, wrong)
    assert ledger.verify(journal)["mismatches"] == 1
    with pytest.raises(StateError, match="verify"):
        ledger.rebuild(journal, past.version)


@pytest.mark.parametrize("what", ["row", "row without its packed part", "basis", "lost basis", "snapshot"])
def test_what_is_damaged_is_a_mismatch_and_no_failure(tmp_path: Path, what: str) -> None:
    with Store(tmp_path) as store:
        past = author(store)
        for _ in range(4):
            past.step()
        past.snapshot()
        past.step()
        assert ledger.verify(store)["mismatches"] == 0
        side = next(row.side for row in store.rows() if row.kind == "basis")
        blob = store.folder / "blobs" / (store.snapshots()[5] if what == "snapshot" else side or "")
        match what:
            case "row":
                store.query("UPDATE ledger SET packed = ? WHERE version = 3", b"no deflate")
            case "row without its packed part":
                store.query("UPDATE ledger SET packed = NULL WHERE version = 3")
            case "lost basis":
                blob.unlink()
            case _:
                blob.write_bytes(blob.read_bytes()[:-3])
        found = ledger.verify(store)
        assert found["mismatches"] >= 1, found
        if "basis" in what:
            assert (found["versions"], found["replayed"], found["mismatches"]) == (7, 1, 6)
        if what == "snapshot":
            assert (found["versions"], found["replayed"], found["mismatches"]) == (7, 7, 1)


def test_verify_looks_again_where_the_ledger_was_compacted_under_it(
    journal: Compactable, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = author(journal)
    for _ in range(6):
        past.step()
    past.rollback(past.version - 2)
    past.snapshot()
    read: Callable[[str], bytes] = journal.blob
    met: list[str] = []

    def compact_first(sha256: str) -> bytes:
        if not met:
            met.append(sha256)
            past.compact(0)
        return read(sha256)

    monkeypatch.setattr(journal, "blob", compact_first)
    found = ledger.verify(journal)
    assert met and (found["mismatches"], found["replayed"]) == (0, 2)


def test_what_a_failed_probe_may_go_back_to_is_kept() -> None:
    assert compaction.oldest(1000, 500, [400]) == 400
    assert compaction.oldest(1000, 500, [900]) == 500
    assert compaction.oldest(1000, 500, [0]) == 500, "the anchor needs no row"
    assert compaction.oldest(100, 500, []) == 0
    assert [compaction.spacing(keep) for keep in (1, 5, 50, 500, 10_000)] == [1, 1, 10, 100, 100]
