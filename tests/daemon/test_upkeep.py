"""A daemon that keeps little: it snapshots and compacts by itself, and says what can no longer be had."""

from pathlib import Path
from typing import Any

from tests.daemon.live import cli, demonstration, event_id, inside, merged

KEEP = 4


def test_a_daemon_keeps_its_last_versions_and_says_what_it_dropped(tmp_path: Path, tree: dict[str, Any]) -> None:
    settings = merged(
        tree,
        {
            "state": {"keep_versions": KEEP, "keep_events": 2},
            "learn": {"max_uses": 1},
            "probes": {"every": 2, "tolerance": 0.9},
        },
    )
    folder = tmp_path / "state"
    with inside(folder, settings) as live:
        sent = [live.send(demonstration(number, id=event_id(number, False, 0.0))) for number in range(32)]
        live.until(lambda: len(live.versions("step")) >= 8, "steps")
        live.rest()
        assert live.store is not None
        snapshots, newest = live.store.snapshots(), live.get("/v1/status")["version"]
        assert 1 <= len(snapshots) <= KEEP + 2
        blobs = {path.name for path in (folder / "blobs").iterdir()}
        assert set(snapshots.values()) <= blobs and len(blobs) <= KEEP + 4
        found = live.get("/v1/verify")
        assert found["ok"] and 0 < found["since"] <= newest - KEEP
        assert found["replayed"] + found["compacted"] == found["versions"] == newest + 1
        refused = live.client.post("/v1/rollback", json={"version": 1})
        assert refused.status_code == 409 and "state.keep_versions" in refused.json()["error"]["message"]
        assert [live.fate(one)["feedback"] is None for one in (sent[0], sent[-1])] == [True, False]
        assert live.fate(sent[0])["state"] == "used"
        delta = {row["version"]: row["sha256"] for row in live.versions()}
        back = live.post("/v1/rollback", {"version": newest - KEEP})["version"]
        assert live.versions()[-1]["sha256"] == delta[newest - KEEP] and live.chat().status_code == 200
    with inside(folder, settings) as live:
        assert live.store is not None and live.store.repairs == ()
        assert live.get("/v1/status")["version"] >= back
    assert "compacted away" in cli("rollback", "1", "--state-dir", str(folder), status=1)
