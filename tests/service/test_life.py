"""Store, ledger and rollback against the plainest model of them, in any order, through full disks and crashes.

    LIVES=2000 python -m pytest tests/service/test_life.py

is the long run: so many examples, drawn anew, where the default are a few that are always the same.
"""

import os
import random
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stored import event, fill_disk

from edge_es import ledger
from edge_es.errors import StateError
from service.store import Conflict, DiskFull, Store
from tests.ledgers import Author

LIVES = int(os.environ.get("LIVES", "60"))
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of commits, none of which needs a real disk
MAX_USES = 3


class Life(RuleBasedStateMachine):
    """One state folder. bodies, states, uses, used_in: by event. taught: those that a published version used since they
    last began to wait. first: the oldest version that must be rebuilt."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.place = Path(tempfile.mkdtemp(dir=MEMORY))
        self.folders = 0
        self.store = Store(self.place / "0")
        self.author = Author(self.store, random.Random(seed))
        self.author.begin()
        self.bodies: dict[str, dict[str, str] | None] = {}
        self.sent: dict[str, dict[str, str]] = {}
        self.states: dict[str, str] = {}
        self.uses: dict[str, int] = {}
        self.used_in: dict[str, list[int]] = {}
        self.taught: set[str] = set()
        self.first, self.full = 0, False

    # events

    @rule(number=st.integers(0, 30), text=st.sampled_from(["yes", "no"]), held=st.booleans())
    def send(self, number: int, text: str, held: bool) -> None:
        event_id, body = str(uuid.UUID(int=number)), {"value": text * 200}
        known = self.sent.get(event_id)
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
            self.bodies[event_id] = self.sent[event_id] = body
            self.states[event_id] = "held_out" if held else "pending"
            self.uses[event_id], self.used_in[event_id] = 0, []

    @rule()
    def take_back(self) -> None:
        ids = self.store.events_between(max(1, self.author.version), self.author.version)
        if self._fits(lambda: self.store.set_aside(ids, "dropped")):
            self.states.update(dict.fromkeys(ids, "set_aside"))

    @rule()
    def retry(self) -> None:
        ids = [e for e, state in self.states.items() if state == "set_aside"]
        if self._fits(lambda: self.store.retry(ids)):
            for e in ids:
                if self.bodies[e] is not None:
                    self.states[e], self.uses[e] = "pending", 0
                    self.taught.discard(e)

    @rule(keep=st.integers(0, 8), window=st.integers(0, 2))
    def drop_bodies(self, keep: int, window: int) -> None:
        if not self._fits(lambda: self.store.drop_bodies(keep, MAX_USES, window, 99)):
            return
        held = [e for e, state in self.states.items() if state == "held_out"]
        out = set(held[:window])  # the probes look at those after them
        for e in list(self.bodies)[: max(0, len(self.bodies) - keep)]:
            used_up = self.states[e] == "pending" and self.uses[e] >= MAX_USES
            if used_up or self.states[e] == "set_aside" or e in out:
                self.bodies[e] = None

    # versions

    @rule(published=st.booleans(), limit=st.integers(0, 5))
    def learn(self, published: bool, limit: int) -> None:
        batch = tuple(e.id for e, _ in self.store.pending(limit, max_uses=MAX_USES))
        if not self._fits(lambda: self.author.step(batch) if published else self.author.reject(batch)):
            return
        for e in batch:
            self.uses[e] += 1
            if published:
                self.used_in[e].append(self.author.version)
                self.taught.add(e)

    @rule()
    def renew(self) -> None:
        self._fits(self.author.basis)

    @rule(back=st.integers(1, 8))
    def roll_back(self, back: int) -> None:
        target = max(0, self.author.version - back)
        rows, snapshots = self.store.rows(), self.store.snapshots()
        if target == self.author.version:
            refusal = "is the one that is served"
        elif 0 < target < self.first and not self._stands(rows, snapshots, target):
            refusal = "was compacted away"
        else:
            self._fits(lambda: self.author.rollback(target))
            return
        with pytest.raises(StateError, match=refusal):
            self.author.rollback(target)

    def _stands(self, rows: list[ledger.Row], snapshots: dict[int, str], version: int) -> bool:
        """Whether a version that need not be kept was kept all the same."""
        try:
            ledger.way(rows, snapshots, version)
        except StateError:
            return False
        return True

    @rule(times=st.integers(1, 6), then=st.booleans())
    def go_on(self, times: int, then: bool) -> None:
        """Steps without events, and perhaps a snapshot: what a compaction needs to have something to do."""
        for _ in range(times):
            self._fits(self.author.step)
        if then:
            self._fits(self.author.snapshot)

    @rule(keep=st.integers(0, 4), merged=st.booleans())
    def compact(self, keep: int, merged: bool) -> None:
        def go() -> None:
            self.first = max(self.first, self.author.compact(keep))

        if merged and self.author.delta.parts:
            self._fits(self.author.merge)

        self._fits(go)

    # what happens to it

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
        self._open()

    @rule()
    def crash(self) -> None:
        """The folder as it lies while it is in use, opened elsewhere."""
        self.folders += 1
        shutil.copytree(self.place / str(self.folders - 1), self.place / str(self.folders))
        self.store.close()
        self._open()

    def _open(self) -> None:
        self.store = self.author.journal = Store(self.place / str(self.folders))
        self.full = False
        named = {row["blob"] for row in self.store.query("SELECT blob FROM snapshots")}
        rows = [row for row in self.store.rows() if row.kind != "step" and not row.compacted]
        named |= {row.side for row in rows if row.side}
        assert {path.name for path in (self.store.folder / "blobs").iterdir()} == named
        found = ledger.verify(self.store)
        assert found["mismatches"] == 0 and found["replayed"] + found["compacted"] == len(self.author.made)
        assert found["since"] <= self.first

    def _fits(self, write: object) -> bool:
        """Whether there was room for it. Where there was none, nothing has happened."""
        try:
            write()  # type: ignore[operator]
        except DiskFull:
            assert self.full
            return False
        return True

    @invariant()
    def agrees(self) -> None:
        fates = {fate.id: fate for fate in self.store.list_events(limit=1000)}
        assert {e: fate.body for e, fate in fates.items()} == self.bodies
        for e, fate in fates.items():
            assert list(fate.used_in) == self.used_in[e]
            used = self.states[e] == "pending" and e in self.taught
            assert fate.state == ("used" if used else self.states[e])
        waiting = sorted(
            self.uses[e]
            for e, state in self.states.items()
            if state == "pending" and self.uses[e] < MAX_USES and self.bodies[e] is not None
        )
        assert [uses for _, uses in self.store.pending(1000, max_uses=MAX_USES)] == waiting
        rows = self.store.rows()
        assert {row.version: row.sha256 for row in rows if row.version is not None} == {
            version: delta.sha256 for version, delta in self.author.made.items()
        }
        assert ledger.rebuild(self.store, self.author.version).sha256 == self.author.delta.sha256

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.store.close()
            self._open()
            self.store.close()
            shutil.rmtree(self.place)


Life.TestCase.settings = settings(
    max_examples=LIVES,
    stateful_step_count=30,
    deadline=None,
    derandomize="LIVES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
TestLife = pytest.mark.timeout(300 + 2 * LIVES)(Life.TestCase)
