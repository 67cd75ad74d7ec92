"""Feedback that the memory budget cannot hold stands aside; halted learning stays halted, and the rest goes on."""

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.live import Live, demonstration, event_id, inside, merged

SHARE = 0.5


def budget(tree: dict[str, Any], rows: int) -> str:
    """Room for so many rows of a short lesson."""
    from edge_es.config import Config
    from edge_es.footprint import Shape, bytes_of
    from edge_es.model import load_base

    base = load_base(Config(**tree).model)
    return str(8 * base.weight_bytes + bytes_of(base, Shape(32, 32), rows))


def long(number: int, **more: Any) -> dict[str, Any]:
    return demonstration(number, **more) | {"value": "yes and no " * 90}


def test_what_does_not_fit_stands_aside_and_the_others_are_learned_from(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, merged(tree, {"learn": {"memory_budget": budget(tree, 8)}})) as live:
        sent = [live.send(demonstration(number)) for number in range(3)]
        large = live.send(long(9))
        live.until(lambda: live.fate(large)["state"] == "set_aside", "the one that is too large")
        assert "learn.memory_budget" in live.fate(large)["reason"]
        sent.append(live.send(demonstration(4)))
        live.until(lambda: {live.fate(one)["state"] for one in sent} == {"used"}, "the steps")
        assert live.rest()["reason"] is None


def test_what_is_held_out_and_does_not_fit_is_not_probed(tmp_path: Path, tree: dict[str, Any]) -> None:
    learn = {"memory_budget": budget(tree, 8), "holdout": SHARE}
    with inside(tmp_path, merged(tree, {"learn": learn})) as live:
        large = live.send(long(99, id=event_id(99, True, SHARE)))
        held = [live.send(demonstration(n, id=event_id(n, True, SHARE))) for n in range(8)]
        sent = [live.send(demonstration(n, id=event_id(n, False, SHARE))) for n in range(20, 24)]
        live.until(lambda: {live.fate(one)["state"] for one in sent} == {"used"}, "the steps")
        assert live.rest()["reason"] is None
        assert live.fate(large)["state"] == "set_aside" and "learn.memory_budget" in live.fate(large)["reason"]
        assert {live.fate(one)["state"] for one in held} == {"held_out"}
        log = live.get("/v1/retention")["retention"]
        assert 8 in {row["items"] for row in log if row["suite"] == "learned-demonstration"}


def halt(live: Live, reason: str) -> None:
    assert live.engine is not None
    live.engine._call(lambda: live.engine._teaching.halt(reason)).result()  # type: ignore[union-attr]


def test_halted_learning_stays_so_whatever_the_ledger_says_and_upkeep_goes_on(
    tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, merged(tree, {"state": {"keep_events": 2}})) as live:
        live.rest()
        halt(live, "for a test")
        for _ in range(8):
            assert live.chat(max_tokens=1).status_code == 200
        assert live.store is not None
        kept = live.store.query
        live.until(lambda: kept("SELECT count(*) FROM completions")[0][0] <= 4, "old answers to be forgotten")
        assert live.get("/v1/status")["reason"] == "for a test"
        live.post("/v1/learning/resume")
        assert live.engine is not None and live.engine._teaching is not None

        def damaged() -> None:
            raise MemoryError

        monkeypatch.setattr(live.engine._teaching, "reload", damaged)
        halt(live, "again")
        assert live.get("/v1/status")["reason"] == "again; and the ledger does not replay: MemoryError"
        assert live.chat(max_tokens=1).status_code == 200


def test_scores_from_before_the_window_moved_are_no_reference(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from service.store import Store
    from service.teaching import Teaching

    with Store(tmp_path) as store:
        one: Any = SimpleNamespace(_store=store)
        store.save_probe(3, "t", [], {})
        Teaching._move_window(one, 500, 4)
        assert store.get_setting("learned_window") == {"skip": 500, "since": 4}
        store.save_probe(4, "t", [], {})
        Teaching._move_window(one, 1000, 4)  # this very version was probed on the former window
        assert store.get_setting("learned_window") == {"skip": 1000, "since": 5}
