"""kill -9 in the middle of feedback and steps: nothing that was acknowledged is lost, and nothing counts twice."""

import json
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from service.store import Store
from tests.daemon.live import Live, child, demonstration, event_id, merged

KILLS = 3


def flood(live: Live, first: int, acknowledged: list[str]) -> None:
    """Sends lessons one by one until nobody answers."""
    try:
        for number in range(first, first + 10_000):
            acknowledged.append(live.send(demonstration(number, id=event_id(number, False, 0.0))))
    except httpx.HTTPError:
        return


def check(folder: Path, acknowledged: list[str]) -> None:
    """The folder as the crash left it."""
    with Store.open_read_only(folder) as store:
        fates = {fate.id: fate for fate in store.list_events(limit=100_000)}
        rows = store.rows()
        assert set(acknowledged) <= set(fates)
        assert len(fates) <= len(acknowledged) + KILLS, "at most the one that was being sent"
        steps = {row.version: row for row in rows if row.kind == "step"}
        for version, row in steps.items():
            assert all(version in fates[event].used_in for event in row.events)
        assert sum(len(fate.used_in) for fate in fates.values()) == sum(len(row.events) for row in steps.values())
        assert [row.attempt for row in rows] == list(range(len(rows)))
        uses = {row["id"]: row["uses"] for row in store.query("SELECT id, uses FROM events")}
        assert all(uses[event] == len(fate.used_in) for event, fate in fates.items())


def test_kill_at_any_moment_forgets_nothing(tmp_path: Path, tree: dict[str, Any]) -> None:
    moments = random.Random(20261123)
    settings = merged(tree, {"learn": {"max_uses": 3}, "probes": {"every": 3}})
    folder = tmp_path / "state"
    acknowledged: list[str] = []
    served: dict[str, Any] = {}
    for round_ in range(KILLS):
        with child(tmp_path, settings) as live:
            assert live.process is not None
            if served:
                now = {row["version"]: row["sha256"] for row in live.versions()}
                assert served.items() <= now.items(), "published versions are still there, with the same delta"
                assert live.get("/v1/status")["version"] >= max(served)
            sender = threading.Thread(target=flood, args=(live, 1000 * round_, acknowledged))
            sender.start()
            steps = len(live.versions("step"))
            with httpx.Client(base_url=live.url, headers=live.client.headers, trust_env=False, timeout=200) as eye:
                live.until(
                    lambda eye=eye, steps=steps: (
                        sum(row["kind"] == "step" for row in eye.get("/v1/versions").json()["versions"]) > steps
                    ),
                    "a step",
                )
                time.sleep(moments.uniform(0, 0.3))
                served = {row["version"]: row["sha256"] for row in eye.get("/v1/versions").json()["versions"]}
            live.process.send_signal(signal.SIGKILL)
            live.process.wait()
            sender.join()
        assert json.loads((folder / "daemon.json").read_text())["pid"] == live.process.pid, "a crash cleans nothing up"
        check(folder, acknowledged)
    with child(tmp_path, settings) as live:
        assert served.items() <= {row["version"]: row["sha256"] for row in live.versions()}.items()
        live.post("/v1/learning/pause")
        found = live.get("/v1/verify")
        assert found["ok"] and found["mismatches"] == 0 and found["replayed"] == found["versions"]
        assert live.chat().status_code == 200
        repeated = acknowledged[0]
        assert live.send(demonstration(0, id=repeated)) == repeated
        assert live.stop() == 0
    check(folder, acknowledged)
