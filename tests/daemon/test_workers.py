"""A daemon whose members are evaluated by Ray's workers: it learns, loses workers, its driver and its cluster, and
serves all the while. Real daemons, real Ray."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.live import Live, child, cli, demonstration, merged

pytest.importorskip("ray")
KILLS, SEED = int(os.environ.get("WORKER_KILLS", "2")), 20261126
WORKERS = {"evaluator": "ray", "count": 2, "pairs": 1, "min_share": 0.75}


@pytest.fixture
def workers(tree: dict[str, Any]) -> dict[str, Any]:
    """A daemon that goes on learning for as long as a test may take."""
    more = {"learn": {"max_uses": 100_000}, "probes": {"every": 1_000_000}, "workers": WORKERS}
    return merged(tree, more)


@pytest.fixture
def live(tmp_path: Path, workers: dict[str, Any]) -> Iterator[Live]:
    with child(tmp_path, workers) as found:
        for number in range(4):
            found.send(demonstration(number))
        found.until(lambda: steps(found) >= 1, "a step")
        yield found


def steps(live: Live) -> int:
    return len([row for row in live.versions("step") if row["version"] is not None])


def told(live: Live) -> list[dict[str, Any]]:
    """How the workers stand."""
    found: list[dict[str, Any]] = live.get("/v1/workers")["workers"]
    return found


def descendants(pid: int) -> dict[int, str]:
    """pid -> command of all that a process has started, and what those have."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    found: dict[int, str] = {}
    newest = {pid}
    while newest:
        more = {int(own): args for own, parent, args in rows if int(parent) in newest}
        found |= more
        newest = set(more)
    return found


def of(live: Live, what: str) -> list[int]:
    """The daemon's descendants whose command has this in it."""
    assert live.process is not None
    return [pid for pid, command in descendants(live.process.pid).items() if what in command]


def killed_one(live: Live, rng: random.Random) -> bool:
    """Whether there was one."""
    alive = of(live, "ray::Worker")
    try:
        os.kill(rng.choice(alive), signal.SIGKILL)
    except (IndexError, ProcessLookupError):  # the last one that was killed is not replaced yet
        return False
    return True


@pytest.mark.timeout(300 + 60 * KILLS)
def test_workers_that_are_killed_lose_no_step_and_disturb_nobody(live: Live) -> None:
    rng, answered, lost = random.Random(SEED), 0, 0
    for _ in range(KILLS):
        before = steps(live)
        time.sleep(rng.random())  # at any moment of a step
        live.until(lambda: killed_one(live, rng), "a worker to kill")
        lost += 1
        assert live.chat().status_code == 200
        answered += 1
        live.until(lambda before=before: steps(live) >= before + 2, "further steps")  # type: ignore[misc]
    live.until(lambda: all(row["members"] for row in told(live)), "two workers that have scored")
    live.until(lambda: sum(row["failures"] for row in told(live)) >= 1, "somebody who is missed")
    shown = cli("workers", "--state-dir", str(live.folder), "--json")
    assert shown["evaluator"] == "ray" and [row["worker"] for row in shown["workers"]] == [0, 1]
    # Who was killed last may only now be missed and replaced, and says nothing of its device until it has loaded.
    assert {row["device"] for row in shown["workers"]} <= {"cpu", None}
    learned = live.get("/v1/status")["version"]
    assert live.stop() == 0
    found = cli("verify", "--state-dir", str(live.folder), "--json")
    assert found["mismatches"] == 0 and found["versions"] >= learned
    print(f"{lost} workers killed, {answered} requests answered meanwhile, {found['versions']} versions, 0 mismatches")


@pytest.mark.timeout(400)
def test_a_driver_that_is_killed_is_started_again(live: Live) -> None:
    (driver,) = of(live, "edge_es.cluster.driver")
    os.kill(driver, signal.SIGKILL)
    live.until(lambda: live.get("/v1/status")["reason"], "the reason why nothing is learned")
    assert "the process that drives the cluster has ended" in live.get("/v1/status")["reason"]
    assert live.chat().status_code == 200
    before = steps(live)
    live.until(lambda: steps(live) > before, "a step by another driver")
    assert live.get("/v1/status")["reason"] is None
    mine = descendants(live.process.pid) if live.process else {}
    assert len(mine) > 3 and live.stop() == 0
    live_still = {pid for pid, command in mine.items() if "ray" in command or "driver" in command}
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in live_still):
        assert time.monotonic() < deadline, "what the daemon has started outlives it"
        time.sleep(0.2)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.timeout(300)
def test_a_cluster_that_is_not_there_is_said_and_serving_goes_on(tmp_path: Path, workers: dict[str, Any]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with child(tmp_path, merged(workers, {"workers": {"address": address}})) as live:
            for number in range(4):
                live.send(demonstration(number))
            status = live.until(lambda: (row := live.get("/v1/status"))["reason"] and row, "the reason")
            assert status["learning"] == "paused" and f"no Ray cluster at address '{address}'" in status["reason"]
            assert live.chat().status_code == 200
            assert live.get("/v1/workers") == {"evaluator": "ray", "reason": status["reason"], "workers": []}
            assert cli("workers", "--state-dir", str(live.folder), "--json")["reason"] == status["reason"]
            assert live.stop() == 0
