"""Kill -9 at random moments under load, and what is found afterwards.

A round: a daemon starts on the folder as the last crash left it; feedback, chats, probes and rollbacks come at once;
the store keeps little, so that snapshots and compaction run all the time; at a moment drawn by the seed the process
is killed, and the folder is read as it lies.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from edge_es import ledger
from edge_es.errors import StateError
from service.store import Store
from tests.crash.nursery import Nursery, alive
from tests.daemon.live import _admin, _found, demonstration, event_id, merged, toml, until

KEEP = {"keep_versions": 6, "keep_events": 20}
SETTINGS = {
    "learn": {"max_uses": 1},
    "probes": {"every": 4, "tolerance": 0.5},
    "rollback": {"max_in_a_row": 1_000_000, "halve_step": False},
    "state": KEEP,
}
LONGEST = 2.0  # seconds under load
PATIENCE = 30.0  # seconds for that to begin
EARLY = 0.15  # share of the kills that come while the daemon starts


@dataclass
class Report:
    """What was found, over all kills. The first five lines are to be 0; the rest says what the kills fell into."""

    lost: list[str] = field(default_factory=list)
    unsent: int = 0
    counted_twice: int = 0
    mismatches: int = 0
    not_ready: list[str] = field(default_factory=list)
    kills: int = 0
    acknowledged: int = 0
    versions: int = 0
    rollbacks: int = 0
    probes: int = 0
    compacted: int = 0
    dropped_bodies: int = 0

    def failures(self) -> dict[str, Any]:
        """What must be empty."""
        found = {
            "acknowledged events lost": self.lost,
            "events that nobody sent": self.unsent,
            "steps counted twice": self.counted_twice,
            "verify mismatches": self.mismatches,
            "starts that did not become ready": self.not_ready,
        }
        return {what: number for what, number in found.items() if number}

    def __str__(self) -> str:
        lists = {"lost": len(self.lost), "not_ready": len(self.not_ready)}
        return ", ".join(f"{name} {number}" for name, number in {**vars(self), **lists}.items())


class Load:
    """Threads that use a daemon until it is gone."""

    def __init__(self, url: str, folder: Path, first: int, seed: int) -> None:
        self.url, self.folder, self.first = url, folder, first
        self.sent: list[str] = []
        self.acknowledged: list[str] = []
        self._rng = random.Random(seed)
        actions = (self._feedback, self._feedback, self._chat, self._administration)
        self._numbers = iter(range(first, first + 1_000_000))
        self._lock = threading.Lock()
        self._acted_at = 0
        self._threads = [threading.Thread(target=self._until_gone, args=(action,)) for action in actions]
        for thread in self._threads:
            thread.start()

    def wait(self, for_a_version: bool) -> None:
        """Until the load is felt, on a slow machine too: something was acknowledged, and perhaps a version made."""
        deadline = time.monotonic() + PATIENCE
        with _admin(self.url, self.folder) as client:
            first = client.get("/v1/status").json()["version"]
            while time.monotonic() < deadline:
                made = client.get("/v1/status").json()["version"] > first or not for_a_version
                if self.acknowledged and made:
                    return
                time.sleep(0.05)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _until_gone(self, action: Any) -> None:
        with _admin(self.url, self.folder) as client:
            try:
                while True:
                    action(client)
            except httpx.HTTPError:
                return

    def _feedback(self, client: httpx.Client) -> None:
        with self._lock:
            number = next(self._numbers)
        one = event_id(number, False, 0.0)
        self.sent.append(one)
        answer = client.post("/v1/feedback", json=demonstration(number, id=one))
        assert answer.status_code == 200, answer.text
        self.acknowledged.append(one)
        time.sleep(0.01)

    def _chat(self, client: httpx.Client) -> None:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        client.post("/v1/chat/completions", json=body)
        time.sleep(0.05)

    def _administration(self, client: httpx.Client) -> None:
        """Now and then a probe round, a rollback, a reading."""
        time.sleep(self._rng.uniform(0.2, 0.9))
        newest = client.get("/v1/status").json()["version"]
        if newest == self._acted_at and self._rng.random() < 0.95:
            return  # both drop the turn in hand: on a slow machine nothing would ever be learned
        self._acted_at = newest
        if newest and self._rng.random() < 0.7:
            client.post(
                "/v1/rollback", json={"version": max(0, newest - self._rng.randint(1, 16)), "reason": "for a test"}
            )
        else:
            client.post("/v1/probes/run", json={})


def run(nursery: Nursery, place: Path, tree: dict[str, Any], kills: int, seed: int) -> Report:
    """So many kills on one folder."""
    rng, report = random.Random(seed), Report()
    place.mkdir(parents=True)
    config, folder, log = place / "config.toml", place / "state", place / "log"
    config.write_text(toml(merged(tree, SETTINGS)))
    sent: set[str] = set()
    acknowledged: set[str] = set()
    published: dict[int, str] = {}
    for number in range(kills):
        pid = nursery.start(config, folder, log)
        early = number > 0 and rng.random() < EARLY
        load: Load | None = None
        if early:
            time.sleep(rng.uniform(0, 0.4))
        elif url := _ready(folder, pid):
            load = Load(url, folder, number * 10_000, seed + number)
            load.wait(for_a_version=rng.random() < 0.5)
            time.sleep(rng.uniform(0.0, LONGEST))
        else:
            report.not_ready.append(f"seed {seed}, start {number}: {log.read_text()[-500:]}")
        _kill(pid)
        if load:
            load.join()
            sent.update(load.sent)
            acknowledged.update(load.acknowledged)
        report.kills += 1
        published = look(folder, sent, acknowledged, published, report)
    report.acknowledged = len(acknowledged)
    pid = nursery.start(config, folder, log)
    if _ready(folder, pid) is None:
        report.not_ready.append(f"seed {seed}, the last start: {log.read_text()[-500:]}")
    _kill(pid)
    return report


def _kill(pid: int) -> None:
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), "the end")


def _ready(folder: Path, pid: int) -> str | None:
    try:
        return until(lambda: _found(folder, pid), "the daemon", lambda: alive(pid))
    except AssertionError:
        return None


def look(
    folder: Path, sent: set[str], acknowledged: set[str], published: dict[int, str], report: Report
) -> dict[int, str]:
    """Counts what a crash left. Returns version -> sha256, and holds it against what was `published` before."""
    with Store.open_read_only(folder) as store:
        fates = {fate.id: fate for fate in store.list_events(limit=1_000_000)}
        report.lost += sorted(acknowledged - set(fates))
        report.unsent += len(set(fates) - sent)
        rows = store.rows()
        steps = {row.version: row for row in rows if row.kind == "step" and row.version is not None}
        twice = sum(version not in fates[event].used_in for version, row in steps.items() for event in row.events)
        twice += sum(len(fate.used_in) for fate in fates.values()) - sum(len(row.events) for row in steps.values())
        twice += [row.attempt for row in rows] != list(range(len(rows)))
        uses = store.query("SELECT id, uses FROM events")
        twice += sum(row["uses"] != len(fates[row["id"]].used_in) for row in uses)
        report.counted_twice += abs(twice)
        now = {row.version: row.sha256 or "" for row in rows if row.version is not None}
        report.mismatches += sum(now.get(version) != sha256 for version, sha256 in published.items())
        try:
            found = ledger.verify(store) if rows else {"mismatches": 0, "compacted": 0}
        except StateError as error:
            raise AssertionError(f"the ledger does not replay after kill {report.kills}: {error}") from error
        report.mismatches += found["mismatches"]
        report.versions, report.compacted = len(now), found["compacted"]
        report.rollbacks = sum(row.kind == "rollback" for row in rows)
        report.probes = store.query("SELECT count(*) FROM probe_rounds")[0][0]
        report.dropped_bodies = sum(fate.body is None for fate in fates.values())
    return now
