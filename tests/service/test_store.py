"""The state folder: nothing acknowledged is lost, nothing counts twice, nothing is half-stored."""

import errno
import json
import os
import random
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_es.errors import StateError
from edge_es.feedback import Drawn, Event, Exchange, Prompt
from edge_es.ledger import Row, anchor_row, head, rollback
from service import blobs, migrations
from service.store import Answer, Conflict, DiskFull, Store, StoredCompletion


def event(event_id: str = "", kind: str = "demonstration", answer: str = "4") -> Event:
    return Event(event_id or str(uuid.uuid4()), kind, (Exchange(Prompt.user("2 + 2?"), answer),))  # type: ignore[arg-type]


def step(attempt: int, version: int | None, events: tuple[str, ...] = (), **fields: object) -> Row:
    return Row(attempt, version, 0, "step", "2026-01-01T00:00:00+00:00", events=events, **fields)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "state") as opened:
        yield opened


def fill_disk(store: Store) -> None:
    """A real SQLITE_FULL: the file may not grow any more."""
    pages = store.query("PRAGMA page_count")[0][0]
    store.query(f"PRAGMA max_page_count = {pages}")


def free_disk(store: Store) -> None:
    store.query("PRAGMA max_page_count = 1000000")


# events


def test_an_event_waits_until_it_is_used_and_its_fate_tells_by_which_version(store: Store) -> None:
    one, two = event(), event()
    store.append(anchor_row(), {})
    for e in (one, two):
        assert store.add_event(e, {"value": "4", "id": e.id}, held_out=False)
    assert [e.id for e, _ in store.pending(10, max_uses=5)] == [one.id, two.id]
    store.append(step(1, None, (one.id,)), {})  # rejected
    store.append(step(2, 1, (one.id,)), {})
    assert [(e.id, uses) for e, uses in store.pending(10, max_uses=5)] == [(two.id, 0), (one.id, 2)]
    assert [e.id for e, _ in store.pending(10, max_uses=2)] == [two.id]
    assert (store.count_waiting(5), store.count_usable(5), store.count_usable(2)) == (1, 2, 1)
    fate = store.event_fate(one.id)
    assert fate is not None
    assert (fate.state, fate.used_in) == ("used", (1,))
    assert fate.as_json()["feedback"] == {"value": "4"}
    other = store.event_fate(two.id)
    assert other is not None
    assert (other.state, other.used_in) == ("pending", ())
    assert store.events_between(1, 1) == [one.id]
    assert store.next_batch(5, 0, 64, lambda one: 1.0) == [(two, 0), (one, 2)]
    assert {s: n for s, n in store.count_events().items() if n} == {"pending": 1, "used": 1}


def test_ratings_of_members_wait_for_their_step_and_serve_one_alone(store: Store) -> None:
    store.append(anchor_row(), {})
    members = [Drawn(0, -2, pair, sign, 0.1, "basis") for pair in (0, 1) for sign in (1, -1)]
    other = replace(members[0], basis="other")
    said = (Exchange(Prompt.user("2 + 2?"), "4"),)
    for number, member in enumerate([*members, members[0], other]):
        rating = Event(f"r{number}", "rating", said, metric="thumbs", value=1.0, member=member)
        assert store.add_event(rating, {"value": number}, held_out=number == 3)
    assert (store.count_usable(9), store.count_waiting(9), store.pending(9, 9)) == (0, 0, [])
    own = members[0].family
    assert store.count_rated(own) == 3, "one is held out, one is rated twice"
    rated = store.rated(own, 9)
    assert [event.id for event in rated] == ["r0", "r1", "r2", "r4"] and rated[1].member == members[1]
    store.append(step(1, 1, ("r0", "r4")), {})
    assert [event.id for event in store.rated(own, 9)] == ["r1", "r2"], "each is told once"
    assert store.release(own) == 1 and store.release(own) == 0
    assert [event.id for event, _ in store.pending(9, 9)] == ["r5"] and [
        e.id for e, _ in store.next_batch(9, 0, 9, lambda one: 1.0)
    ] == ["r5"]
    assert store.release(None) == 2
    assert [event.id for event, _ in store.pending(9, 9)] == ["r1", "r2", "r5"]


def test_a_folder_from_before_there_were_members_is_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add_completion(StoredCompletion("c", 0, "chat", Prompt.user("?"), (Answer("4", "stop"),), 1, 1))
        store.add_event(event("e"), {"value": "4"}, held_out=False)
    with sqlite3.connect(tmp_path / "edge-es.sqlite") as db:
        for index in ("events_family", "events_withheld", "events_content"):
            db.execute(f"DROP INDEX {index}")
        added = (("events", "family"), ("events", "withheld"), ("events", "content"), ("completions", "member"))
        for table, column in added:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 5")
    with Store(tmp_path) as store:
        served = store.completion("c")
        assert served is not None and served.member is None
        assert [one for one, _ in store.pending(9, 9)] == [event("e")]


def test_an_event_used_by_a_rejected_attempt_alone_is_still_pending(store: Store) -> None:
    one = event()
    store.append(anchor_row(), {})
    store.add_event(one, {}, held_out=False)
    store.append(step(1, None, (one.id,)), {})
    fate = store.event_fate(one.id)
    assert fate is not None and fate.state == "pending" and fate.used_in == ()


def test_held_out_events_and_comments_are_never_handed_to_the_learner(store: Store) -> None:
    kept, remark = event(), event(kind="comment")
    store.add_event(kept, {}, held_out=True)
    store.add_event(remark, {}, held_out=True)
    assert store.pending(10, 5) == []
    assert store.held_out() == [kept]
    assert {s: n for s, n in store.count_events().items() if n} == {"held_out": 1, "kept": 1}


def test_set_aside_events_are_listed_with_their_reason_and_retry_makes_them_fresh(store: Store) -> None:
    one = event()
    store.append(anchor_row(), {})
    store.add_event(one, {}, held_out=False)
    store.append(step(1, 1, (one.id,)), {})
    assert store.set_aside([one.id], "capitals dropped at version 1") == 1
    assert store.pending(10, 5) == [] and store.next_batch(5, 0, 64, lambda one: 1.0) == []
    (fate,) = store.list_events("set_aside")
    assert (fate.id, fate.reason, fate.used_in) == (one.id, "capitals dropped at version 1", (1,))
    assert store.retry([one.id]) == 1
    assert store.pending(10, 5) == [(one, 0)]


def test_listing_pages_through_events_oldest_first(store: Store) -> None:
    ids = []
    for _ in range(5):
        ids.append(event().id)
        store.add_event(event(ids[-1]), {}, held_out=False)
    assert [f.id for f in store.list_events(limit=2)] == ids[:2]
    assert [f.id for f in store.list_events(after=ids[1], limit=2)] == ids[2:4]


def test_the_reservoir_is_drawn_by_its_seed(store: Store) -> None:
    store.append(anchor_row(), {})
    ids = tuple(event().id for _ in range(20))
    for e in ids:
        store.add_event(event(e), {}, held_out=False)
    store.append(step(1, 1, ids), {})
    draws = [[e.id for e, _ in store.next_batch(8, seed, 64, lambda one: 1.0)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert all(draw == sorted(draw, key=ids.index) for draw in draws)


# the ledger


def test_append_stores_blobs_before_the_row_and_gives_everything_back_after_reopening(tmp_path: Path) -> None:
    data = b"input side"
    row = step(1, 1, side=blobs.sha256(data), shaped=("0x1.8p+0",), stats={"step_norm": 0.5})
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


# the folder


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


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_reading_a_folder_at_rest_changes_not_a_byte(tmp_path: Path) -> None:
    one = event()
    with Store(tmp_path) as store:
        store.append(anchor_row(), {})
        store.add_event(one, {}, held_out=False)
    before = snapshot(tmp_path)
    with Store.open_read_only(tmp_path) as reader:
        assert reader.pending(1, 1) == [(one, 0)]
        with pytest.raises(StateError):
            reader.put_setting("learning", {})
    assert snapshot(tmp_path) == before


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


# completions, settings, probes


def test_completions_are_found_by_id_and_by_episode(store: Store) -> None:
    made = [
        StoredCompletion(str(i), 3, "chat", Prompt.user(f"say {i}"), (Answer(str(i), "stop"),), 4, 2, episode)
        for i, episode in enumerate(["a", "b", "a", None])
    ]
    for completion in made:
        store.add_completion(completion)
    found = store.completion("0")
    assert found is not None and found.prompt == made[0].prompt and found.answers == made[0].answers
    assert [c.id for c in store.episode("a")] == ["0", "2"]
    assert store.completion("none") is None and store.episode("none") == []


def test_settings_are_json_values(store: Store) -> None:
    assert store.get_setting("learning") is None
    store.put_setting("learning", {"paused": True})
    store.put_setting("learning", {"paused": False, "scale": 0.5})
    assert store.get_setting("learning") == {"paused": False, "scale": 0.5}


@dataclass(frozen=True)
class Result:
    """The fields of edge_es.probes.verdicts.SuiteResult."""

    version: int
    suite: str
    kind: str
    items: int
    score: float
    anchor: float
    retention: float
    ci_low: float
    ci_high: float
    verdict: str
    at: str


def result(version: int, suite: str, verdict: str = "kept", score: float = 0.5) -> Result:
    return Result(version, suite, "choice", 2, score, 1.0, score, 0.4, 0.6, verdict, "t")


def test_probe_rounds_keep_items_and_the_latest_round_of_a_version_wins(store: Store) -> None:
    store.save_probe(0, "t", [result(0, "facts", score=1.0)], {"facts": [1.0, 1.0]})  # type: ignore[list-item]
    store.save_probe(2, "t", [result(2, "facts", "dropped")], {"facts": [0.0, 0.25]})  # type: ignore[list-item]
    assert store.passed_versions() == [0]
    assert store.anchor_scores("facts") == [1.0, 1.0] and store.item_scores(2, "facts") == [0.0, 0.25]
    assert store.anchor_scores("other") is None
    store.save_probe(2, "u", [result(2, "facts", score=float("nan"))], {"facts": [1.0, 0.0]})  # type: ignore[list-item]
    assert store.passed_versions() == [0, 2]
    assert [(row["version"], row["score"], row["at"]) for row in store.probe_results()] == [
        (0, 1.0, "t"),
        (2, None, "u"),
    ]
    assert store.probe_results(2)[0]["verdict"] == "kept"


# whatever happens, in whatever order


class Life(RuleBasedStateMachine):
    """A store and the plainest model of it, through repeats, conflicts, full disks, crashes and restarts."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.store.append(anchor_row(), {})
        self.bodies: dict[str, dict[str, str]] = {}
        self.states: dict[str, str] = {}
        self.uses: dict[str, int] = {}
        self.used_in: dict[str, list[int]] = {}
        self.attempt, self.version, self.full = 0, 0, False
        self.random = random.Random(seed)

    @rule(number=st.integers(0, 30), text=st.sampled_from(["yes", "no"]), held=st.booleans())
    def send(self, number: int, text: str, held: bool) -> None:
        event_id, body = str(uuid.UUID(int=number)), {"value": text * 200}
        known = self.bodies.get(event_id)
        try:
            new = self.store.add_event(event(event_id), body, held_out=held)
        except Conflict:
            assert known is not None and known != body
            return
        except DiskFull:
            assert self.full and known is None
            return
        assert known in (None, body) and new == (known is None)
        if new:
            self.bodies[event_id] = body
            self.states[event_id] = "held_out" if held else "pending"
            self.uses[event_id], self.used_in[event_id] = 0, []

    @rule(published=st.booleans(), limit=st.integers(1, 5))
    def learn(self, published: bool, limit: int) -> None:
        batch = tuple(e.id for e, _ in self.store.pending(limit, max_uses=4))
        version = self.version + 1 if published else None
        try:
            self.store.append(step(self.attempt + 1, version, batch), {blobs.sha256(b"s"): b"s"})
        except DiskFull:
            assert self.full
            return
        self.attempt += 1
        self.version = self.version if version is None else version
        for e in batch:
            self.uses[e] += 1
            if version is not None:
                self.used_in[e].append(version)

    @rule()
    def take_back(self) -> None:
        ids = self.store.events_between(max(1, self.version), self.version)
        try:
            self.store.set_aside(ids, "dropped")
        except DiskFull:
            assert self.full
            return
        for e in ids:
            self.states[e] = "set_aside"

    @rule()
    def retry(self) -> None:
        ids = [e for e, state in self.states.items() if state == "set_aside"]
        try:
            self.store.retry(ids)
        except DiskFull:
            assert self.full
            return
        for e in ids:
            self.states[e], self.uses[e] = "pending", 0

    @rule()
    def crash_in_a_transaction(self) -> None:
        with pytest.raises(KeyboardInterrupt), self.store.transaction():  # noqa: PT012
            self.store.put_setting("half", True)
            raise KeyboardInterrupt
        assert self.store.get_setting("half") is None

    @rule()
    def fill(self) -> None:
        fill_disk(self.store)
        self.full = True

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(Path(self.folder.name))
        self.full = False

    @invariant()
    def agrees(self) -> None:
        fates = {fate.id: fate for fate in self.store.list_events(limit=1000)}
        assert {e: json.loads(json.dumps(f.body)) for e, f in fates.items()} == self.bodies
        for e, fate in fates.items():
            assert list(fate.used_in) == self.used_in[e]
            used = self.states[e] == "pending" and self.uses[e] and self.used_in[e]
            assert fate.state == ("used" if used else self.states[e])
        waiting = sorted((self.uses[e]) for e, state in self.states.items() if state == "pending" and self.uses[e] < 4)
        assert [uses for _, uses in self.store.pending(1000, max_uses=4)] == waiting
        rows = self.store.rows()
        assert rows[-1].attempt == self.attempt and head(rows).version == self.version

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


Life.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
TestLife = Life.TestCase
