"""Learning that cannot go on pauses and says why, and serving continues: too little memory, a full disk, no suites."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_es.ledger import Row
from edge_es.slices import Slices
from service.store import DiskFull
from service.teaching import Teaching
from tests.daemon.live import cli, demonstration, inside, merged


def task(number: int) -> dict[str, Any]:
    """Graded; each number has its own prompt."""
    grader = {"type": "string_check", "operation": "like", "reference": "a"}
    return {"input": {"messages": [{"role": "user", "content": f"zorp {number}"}]}, "grader": grader}


@pytest.mark.parametrize("kind", ["demonstration", "task"])
def test_a_memory_budget_that_holds_nothing_pauses_learning(tmp_path: Path, tree: dict[str, Any], kind: str) -> None:
    bodies = [(task if kind == "task" else demonstration)(number) for number in range(4)]
    with inside(tmp_path, merged(tree, {"learn": {"memory_budget": "1KiB"}})) as live:
        events = [live.send(body) for body in bodies]
        status = live.until(lambda: (row := live.get("/v1/status"))["learning"] == "paused" and row, "the pause")
        assert "learn.memory_budget" in status["reason"]
        assert status["memory"]["budget_bytes"] == 1024
        assert live.chat().status_code == 200
        assert live.versions("step") == []
        assert {live.fate(event)["state"] for event in events} == {"pending"}
    with inside(tmp_path, tree) as live:
        assert "learn.memory_budget" in live.get("/v1/status")["reason"]
        assert live.post("/v1/learning/resume")["learning"] != "paused"
        live.until(lambda: all(live.fate(event)["state"] == "used" for event in events), "the steps")
        assert live.rest()["reason"] is None
        assert live.versions("step")
        assert live.get("/v1/verify")["ok"]


def test_a_small_budget_learns_the_same_in_smaller_batches(tmp_path: Path, tree: dict[str, Any]) -> None:
    from edge_es.config import Config
    from edge_es.footprint import Shape, bytes_of
    from edge_es.model import load_base

    base = load_base(Config(**tree).model)
    four_rows = 8 * base.weight_bytes + bytes_of(base, Shape(32, 8), 4)
    shas = []
    for budget in ("auto", str(four_rows)):
        with inside(tmp_path / budget, merged(tree, {"learn": {"memory_budget": budget}})) as live:
            for number in range(4):
                live.send(demonstration(number, id=f"00000000-0000-4000-8000-00000000000{number}"))
            assert live.rest()["reason"] is None
            shas.append([row["version"] for row in live.versions("step")])
    assert shas[0] == shas[1] != []


def test_a_full_disk_pauses_learning_at_most(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, tree) as live:
        live.rest()
        live.post("/v1/learning/pause")
        events = [live.send(demonstration(number)) for number in range(4)]
        store = live.store
        assert store is not None
        pages = store.query("PRAGMA page_count")[0][0]
        store.query(f"PRAGMA max_page_count = {pages}")
        refused = live.client.post("/v1/feedback", json=demonstration(9, tags={"note": "x" * 20_000}))
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        live.client.post("/v1/learning/resume", json={})
        for _ in range(3):
            assert live.chat().status_code == 200
        assert live.client.get("/v1/status").status_code == 200
        store.query("PRAGMA max_page_count = 1000000")
        live.post("/v1/learning/resume")
        live.until(lambda: all(live.fate(event)["state"] == "used" for event in events), "the steps")
        assert live.rest()["reason"] is None
        assert live.get("/v1/verify")["ok"]


def test_without_any_suite_it_learns_and_comes_to_rest(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, merged(tree, {"probes": {"suites": ["auto"]}, "learn": {"max_uses": 6}})) as live:
        events = [live.send(demonstration(number)) for number in range(4)]
        assert live.rest()["learning"] == "idle"
        assert len(live.versions("step")) == 6
        assert {live.fate(event)["state"] for event in events} == {"used"}


def test_a_disk_that_fills_up_in_the_middle_of_a_turn_loses_nothing(
    tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, tree) as live:
        live.rest()
        store = live.store
        assert store is not None
        append, put_setting, full = store.append, store.put_setting, True

        def no_step(row: Row, blobs: Mapping[str, bytes]) -> None:
            if full and row.kind == "step":  # the new input side before it was still written
                raise DiskFull("the disk is full")
            append(row, blobs)

        def no_setting(key: str, value: Any) -> None:
            if full:
                raise DiskFull("the disk is full")
            put_setting(key, value)

        monkeypatch.setattr(store, "append", no_step)
        monkeypatch.setattr(store, "put_setting", no_setting)
        events = [live.send(demonstration(number)) for number in range(4)]
        status = live.until(lambda: (row := live.get("/v1/status"))["learning"] == "paused" and row, "the pause")
        assert status["reason"] == "the disk is full"
        assert [row["kind"] for row in live.versions()] == ["anchor", "basis"]
        assert live.chat().headers["x-edge-es-version"] == str(status["version"]) == "1"
        assert live.client.post("/v1/learning/resume", json={}).status_code == 507
        full = False
        live.post("/v1/learning/resume")
        live.until(lambda: all(live.fate(event)["state"] == "used" for event in events), "the steps")
        assert live.rest()["reason"] is None
        assert live.get("/v1/verify")["ok"]


def test_a_suite_that_cannot_be_scored_is_named_and_not_tried_for_ever(tmp_path: Path, tree: dict[str, Any]) -> None:
    suite = tmp_path / "long.jsonl"
    suite.write_text('{"prompt": "a", "answer": "b"}\n' + '{"prompt": "' + "x" * 3000 + '", "answer": "b"}\n')
    with inside(tmp_path / "state", merged(tree, {"probes": {"suites": [str(suite)]}})) as live:
        status = live.until(lambda: (row := live.get("/v1/status"))["learning"] == "paused" and row, "the pause")
        assert "long, item 2" in status["reason"]
        assert live.chat().status_code == 200
        heard = []
        assert live.engine is not None
        live.engine.subscribe(lambda kind, data: heard.append(kind))
        for _ in range(3):
            assert live.chat().status_code == 200  # between two of them the device is free to try again
        assert live.client.post("/v1/probes/run", json={}).status_code == 500
        assert heard == ["learning"], "one try for the one that was asked for"


def test_who_has_just_sent_feedback_is_not_told_idle(
    tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, go_on = threading.Event(), threading.Event()
    go_on.set()
    next_work = Teaching.next_work

    def slow(teaching: Teaching) -> Slices[None] | None:
        found = next_work(teaching)
        if found is None:
            looked.set()
            go_on.wait()
        return found

    monkeypatch.setattr(Teaching, "next_work", slow)
    with inside(tmp_path, merged(tree, {"learn": {"min_events": 1, "batch": 1, "max_uses": 1}})) as live:
        live.rest()
        go_on.clear()
        looked.clear()
        assert looked.wait(30), "an idle device looks for work once in a while"
        event = live.send(demonstration(0))  # between the look and the sleep
        told = live.get("/v1/status")["learning"]
        go_on.set()
        assert told == "active"
        assert live.rest()["learning"] == "idle"
        assert live.fate(event)["state"] == "used"


def test_learning_turned_off_is_told_by_the_daemon_and_by_its_folder(tmp_path: Path, tree: dict[str, Any]) -> None:
    told = []
    for enabled in (False, True):
        with inside(tmp_path, merged(tree, {"learn": {"enabled": enabled}})) as live:
            status = live.rest() if enabled else live.get("/v1/status")
            told.append((status["learning"], status["reason"]))
        stopped = cli("status", "--state-dir", str(tmp_path), "--json")
        assert (stopped["learning"], stopped["reason"]) == told[-1]
    assert told == [("paused", "learning is turned off by learn.enabled"), ("idle", None)]


def test_who_asks_for_probes_again_and_again_does_not_starve_learning(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, merged(tree, {"learn": {"max_uses": 1000}, "probes": {"every": 1000}})) as live:
        for number in range(4):
            live.send(demonstration(number))
        for _ in range(40):  # a round comes after the turn in hand, not in place of it
            live.post("/v1/probes/run")
        assert len(live.versions("step")) >= 3
