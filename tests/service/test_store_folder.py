"""The state folder: one holder, one model, one release; readers change nothing, and a full disk refuses in one line."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from stored import contents, event, fill_disk, free_disk, step

from edge_es.errors import StateError
from edge_es.feedback import Prompt
from edge_es.ledger import anchor_row
from service import blobs, migrations
from service.store import DiskFull, Store


def test_a_second_store_on_one_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from service.store import Store; Store(Path(sys.argv[1]))"
    with Store(tmp_path):
        child = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
        assert child.returncode != 0
        assert f"state folder {tmp_path} is in use by process {os.getpid()}" in child.stderr
        with pytest.raises(StateError, match="in use"):
            Store(tmp_path)
    Store(tmp_path).close()


def test_a_folder_of_another_model_is_refused_with_both_names(store: Store) -> None:
    store.bind_model("pocket", "nf4", "a" * 64)
    store.bind_model("pocket", "nf4", "a" * 64)
    store.bind_model("/moved/pocket", "nf4", "a" * 64)  # the same bytes under another name
    with pytest.raises(StateError, match=r"belongs to model pocket \(nf4\), not to llama \(int8\)"):
        store.bind_model("llama", "int8", "b" * 64)
    with pytest.raises(StateError, match="other weights"):
        store.bind_model("pocket", "nf4", "b" * 64)
    bound = store.model_binding()
    assert bound is not None and (bound.ref, bound.quantization, bound.sha256) == ("pocket", "nf4", "a" * 64)


def test_reading_a_folder_at_rest_changes_not_a_byte(tmp_path: Path) -> None:
    one = event()
    with Store(tmp_path) as store:
        store.append(anchor_row(), {})
        store.add_event(one, {}, held_out=False)
    before = contents(tmp_path)
    with Store.open_read_only(tmp_path) as reader:
        assert reader.pending(1, 1) == [(one, 0)]
        with pytest.raises(StateError):
            reader.put_setting("learning", {})
    assert contents(tmp_path) == before


def test_a_reader_beside_the_daemon_sees_what_is_committed(store: Store) -> None:
    one = event()
    store.add_event(one, {}, held_out=False)
    with Store.open_read_only(store.folder) as reader:
        assert reader.pending(1, 1) == [(one, 0)]
        two = event()
        store.add_event(two, {}, held_out=False)
        assert len(reader.pending(5, 1)) == 2


def test_reading_where_there_is_no_state_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="holds no edge-es state"):
        Store.open_read_only(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "edge-es.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StateError, match="not a database"):
        Store(tmp_path)


def test_migrations_run_in_order_and_a_newer_file_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "edge-es.sqlite", isolation_level=None)
    migrations.MIGRATIONS[0](db)
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO settings VALUES ('kept', '1')")
    db.close()
    with pytest.raises(StateError, match="older"):
        Store.open_read_only(tmp_path)
    with Store(tmp_path) as store:
        assert store.get_setting("kept") == 1
        store.query(f"PRAGMA user_version = {len(migrations.MIGRATIONS) + 1}")
    with pytest.raises(StateError, match="newer"):
        Store(tmp_path)


def test_commits_are_durable_by_configuration(store: Store) -> None:
    assert store.query("PRAGMA journal_mode")[0][0] == "wal"
    assert store.query("PRAGMA synchronous")[0][0] == 2  # FULL
    assert store.query("PRAGMA foreign_keys")[0][0] == 1


def test_a_full_disk_refuses_the_event_and_forgets_none(store: Store) -> None:
    kept = [event(answer="x" * 3000) for _ in range(3)]
    for e in kept:
        store.add_event(e, {}, held_out=False)
    fill_disk(store)
    with pytest.raises(DiskFull, match=f"disk that holds {store.folder} is full"):  # noqa: PT012
        for _ in range(100):
            refused = event(answer="x" * 3000)
            store.add_event(refused, {}, held_out=False)
            kept.append(refused)
    assert [e for e, _ in store.pending(1000, 1)] == kept
    free_disk(store)
    assert store.add_event(refused, {}, held_out=False)


def test_a_folder_from_before_there_were_members_is_read(tmp_path: Path) -> None:
    row = step(0, 0, ("e",), shaped=((1.5).hex(), (-0.1).hex()), stats={"step_norm": 0.5})
    said, answers = json.dumps(Prompt.user("?").as_json()), json.dumps([{"text": "4", "finish_reason": "stop"}])
    with sqlite3.connect(tmp_path / "edge-es.sqlite") as db:
        for migration in migrations.MIGRATIONS[:5]:
            migration(db)
        db.execute("INSERT INTO completions VALUES (1, 'c', 't', 0, 'chat', ?, ?, NULL, 1, 1)", (said, answers))
        for number, (one, state) in enumerate((("e", "pending"), ("h", "held_out"), ("i", "held_out")), 1):
            told = json.dumps(event(one).as_json())
            db.execute(
                "INSERT INTO events VALUES (?, ?, 't', '{}', ?, 'x', NULL, ?, 0, NULL)", (number, one, told, state)
            )
        rating = json.dumps(replace(event("r", "rating"), metric="thumbs", value=0.5).as_json())
        db.execute("INSERT INTO events VALUES (9, 'r', 't', '{}', ?, 'rating', NULL, 'pending', 1, NULL)", (rating,))
        db.execute("INSERT INTO ledger VALUES (0, 0, ?)", (json.dumps(row.as_json()),))
        db.execute("INSERT INTO event_uses VALUES ('r', 0)")
        db.execute("PRAGMA user_version = 5")
    with Store(tmp_path) as store:
        served = store.completion("c")
        assert served is not None and served.member is None
        assert [one.id for one, _ in store.pending(9, 9)] == ["e", "r"]
        assert store.rows() == [row]
        assert {fate: n for fate, n in store.count_events().items() if n} == {"pending": 1, "used": 1, "held_out": 2}
        assert store.metric_means() == {"thumbs": 0.5}
        assert [one.id for one in store.held_out(9, skip=1)] == ["i"] and store.count_held_out() == 2


def test_what_a_crash_left_is_put_right_and_said(tmp_path: Path) -> None:
    used, orphan, half = blobs.sha256(b"used"), blobs.sha256(b"orphan"), f"{blobs.sha256(b'half')}.partial"
    with Store(tmp_path / "state") as store:
        assert store.repairs == ()
        store.append(anchor_row(), {})
        store.append(replace(step(1, 1, side=used), kind="basis"), {used: b"used"})
        store.save_snapshot(1, b"delta")
        for name, data in ((orphan, b"orphan"), (half, b"ha")):
            (store.folder / "blobs" / name).write_bytes(data)
        shutil.copytree(store.folder, tmp_path / "crashed")
    with Store(tmp_path / "crashed") as store:
        assert len(store.repairs) == 3
        assert "did not close the database" in store.repairs[0]
        assert store.repairs[1:] == ("1 unfinished blobs were removed", "1 unnamed blobs were removed")
        assert {path.name for path in (store.folder / "blobs").iterdir()} == {used, blobs.sha256(b"delta")}
    with Store(tmp_path / "crashed") as store:
        assert store.repairs == (), "said once"
    (tmp_path / "state" / "blobs" / orphan).write_bytes(b"orphan")
    with Store.open_read_only(tmp_path / "state"):
        assert (tmp_path / "state" / "blobs" / orphan).exists(), "a reader puts nothing right"
