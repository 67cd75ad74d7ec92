"""The whole story on a small scale, with real daemons: every chapter runs, and what is measured is not made up."""

import json
from pathlib import Path

import pytest

from edge_es.pocket import PROBES_DIR
from service.demo.bars import as_json, bars
from service.demo.story import Plan, tell
from service.demo.view import Screen

SMALL = Plan(
    demonstrations=20,
    preferences=4,
    ratings=4,
    rate_from=0.0,
    tested=16,
    looked_at=8,
    look_every=1.0,
    goal=2.0,  # out of reach: the time limit ends it
    learn_limit=8.0,
    flood=20,
    attack_limit=20.0,
    settle_limit=10.0,
)


def test_the_story_is_told_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = tmp_path / "sort.jsonl"
    suite.write_text("".join((PROBES_DIR / "sort.jsonl").read_text().splitlines(keepends=True)[:24]))
    monkeypatch.setenv("EDGE_ES_PROBES__SUITES", json.dumps([str(suite)]))
    monkeypatch.setenv("EDGE_ES_SEARCH__POPULATION", "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    screen = Screen()
    measured = tell(tmp_path / "state", tmp_path / "log", ["--device", "cpu"], SMALL, screen)
    found = as_json(measured)
    told = "\n".join(screen.notes)
    assert "sending 20 demonstrations" in told
    assert "rating 4 served answers" in told
    assert "resumed at version" in told
    assert set(found["retention"]) == {"sort"}
    assert found["task"]["before"] <= 0.1
    assert found["base_unchanged"] is True
    assert measured.mismatches == 0
    assert measured.resumed
    assert len(measured.base_hashes) == 3
    # A few steps teach nothing much: the demo must say so.
    assert found["ok"] is False
    assert "task after" in [bar.what for bar in bars(measured) if not bar.met]
    assert not (tmp_path / "state" / "daemon.json").exists()
