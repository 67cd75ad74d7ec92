"""A real daemon on a GPU: a model of a real one's shape learns while it answers, within the memory it was given."""

import json
import threading
from pathlib import Path

import pytest

from tests.daemon.live import Live, child, cli, demonstration

BUDGET = 8 * 2**30
VERSIONS = 10


@pytest.mark.timeout(240)
def test_ten_versions_are_learned_while_answering_in_8_gib(tmp_path: Path) -> None:
    """shape:llama-1b, NF4. learn.memory_budget is the limit of the allocator (`memory.hold_to`)."""
    tree = {
        "model": {"ref": "shape:llama-1b", "device": "cuda"},
        "learn": {"memory_budget": "8GiB", "min_events": 16, "max_uses": 1000, "holdout": 0.0},
        "gates": {"min_reliability": -1.0, "max_tie_rate": 1.0, "canary_kl": 1000.0},
        "probes": {"every": 1000000},
        "serve": {"port": 0, "max_slowdown": 2.0},
    }
    with child(tmp_path, tree) as live:
        for number in range(32):
            live.send(demonstration(number))
        answered: list[int] = []
        stop = threading.Event()
        asking = threading.Thread(target=_ask, args=(live, answered, stop))
        asking.start()
        try:
            live.until(lambda: live.get("/v1/status")["version"] >= VERSIONS, "ten versions")
        finally:
            stop.set()
            asking.join()
        status = live.get("/v1/status")
        live.stop()
    assert len(answered) >= VERSIONS and set(answered) == {200}
    assert status["memory"]["peak_bytes"] < BUDGET
    found = cli("verify", "--state-dir", str(tmp_path / "state"), "--json")
    print(json.dumps({"answers": len(answered), "status": status, "verify": found}))
    assert found["ok"] and found["mismatches"] == 0


def _ask(live: Live, answered: list[int], stop: threading.Event) -> None:
    while not stop.is_set():
        answered.append(live.chat("Tell me something.", max_tokens=16).status_code)
        stop.wait(0.2)
