"""The demo's judgement: its bars are computed, and each of them can fail."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from service.demo.bars import Measured, as_json, bars, detection
from service.demo.material import Item, another
from service.demo.measure import Round, rounds
from service.demo.view import HEIGHT, WIDTH, Point, plot

GOOD = Measured(
    before=0.0,
    after=0.95,
    steps=80,
    seconds=200.0,
    retention={"add": 1.0, "sort": 0.985},
    detected_after_probes=1,
    rolled_back_to=80,
    at_worst=0.5,
    recovered={"add": 1.0, "sort": 0.985},
    task_after=0.95,
    base_hashes=("a", "a", "a"),
    mismatches=0,
    resumed=True,
)


def test_all_bars_met() -> None:
    assert as_json(GOOD)["ok"] is True
    assert all(bar.met for bar in bars(GOOD))


@pytest.mark.parametrize(
    "change",
    [
        {"before": 0.11},
        {"after": 0.89},
        {"seconds": 301.0},
        {"retention": {"add": 1.0, "sort": 1.0, "count": 0.979}},
        {"retention": {"add": 0.985, "sort": 0.985}},  # each suite is fine, their mean is not
        {"detected_after_probes": None},
        {"detected_after_probes": 3},
        {"rolled_back_to": None},
        {"at_worst": 0.96},  # an attack that harms nothing shows nothing
        {"recovered": {"add": 1.0, "sort": 0.97}},
        {"task_after": 0.84},
        {"base_hashes": ("a", "a", "b")},
        {"mismatches": 1},
        {"resumed": False},
    ],
    ids=str,
)
def test_each_bar_can_fail(change: dict[str, Any]) -> None:
    missed = dataclasses.replace(GOOD, **change)
    assert as_json(missed)["ok"] is False
    assert sum(not bar.met for bar in bars(missed)) == 1


def test_the_json_has_exactly_the_promised_keys() -> None:
    found = as_json(GOOD)
    assert list(found) == ["task", "retention", "attack", "base_unchanged", "ok"]
    assert list(found["task"]) == ["before", "after", "steps", "seconds"]
    assert list(found["attack"]) == [
        "detected_after_probes",
        "rolled_back_to",
        "retention_at_worst",
        "retention_after",
        "task_after",
    ]


def made(worst: float, *dropped: str) -> Round:
    return Round(1, {"add": 1.0, "sort": worst}, dropped)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        ([made(0.99), made(0.5)], None),
        ([made(0.99), made(0.5, "sort")], 1),
        ([made(0.94), made(0.5, "sort")], 2),
        ([made(0.99), made(0.94), made(0.9), made(0.5, "sort")], 3),
        ([made(0.97, "sort"), made(0.9)], 1),
    ],
)
def test_detection_counts_from_the_first_harmed_round(found: list[Round], expected: int | None) -> None:
    assert detection(found) == expected


def row(version: int, suite: str, kind: str, retention: float | None, verdict: str, at: str) -> dict[str, Any]:
    return {
        "version": version,
        "suite": suite,
        "kind": kind,
        "retention": retention,
        "verdict": verdict,
        "at": at,
    }


def test_rounds_are_in_the_order_they_were_run_and_hold_prior_generation_only() -> None:
    rows = [
        row(3, "sort", "generation", 0.7, "dropped", "2026-01-01T00:00:03"),
        row(3, "sort", "loglik", 0.1, "kept", "2026-01-01T00:00:03"),
        row(3, "learned-task", "generation", 0.2, "kept", "2026-01-01T00:00:03"),
        row(5, "sort", "generation", 0.5, "dropped", "2026-01-01T00:00:02"),
        row(5, "add", "generation", 0.9, "kept", "2026-01-01T00:00:02"),
        row(6, "text", "perplexity", 0.9, "kept", "2026-01-01T00:00:09"),
        row(7, "sort", "generation", None, "kept", "2026-01-01T00:00:10"),
    ]
    first, second = rounds(rows)
    assert (first.version, first.retention, first.dropped) == (5, {"sort": 0.5, "add": 0.9}, ("sort",))
    assert first.worst == 0.5
    assert (second.version, second.retention) == (3, {"sort": 0.7})


def test_plot_puts_points_where_they_belong() -> None:
    grid = plot([Point(0.0, "task", 0.0), Point(10.0, "task", 1.0), Point(5.0, "worst prior suite", 0.5)])
    assert (len(grid), len(grid[0])) == (HEIGHT + 1, WIDTH)
    assert grid[HEIGHT][0] == "task"
    assert grid[0][WIDTH - 1] == "task"
    assert "worst prior suite" in grid[HEIGHT // 2]
    assert plot([])[0][0] == ""


def test_wrong_answers_are_wrong_well_formed_and_no_probe_items() -> None:
    from edge_es.pocket.abilities import ABILITIES, draw
    from service.demo.material import wrong_answers

    flood = wrong_answers(60, seed=3)
    assert flood == wrong_answers(60, seed=3)
    assert len(flood) == 60
    assert len({body["input"]["messages"][0]["content"] for body in flood}) > 40
    assert all(body["metric_name"] == "demonstration" and body["value"] for body in flood)
    assert len(ABILITIES) >= 8
    facts = next(ability for ability in ABILITIES if ability.name == "facts")
    rng = random.Random(0)
    truth = {item.prompt: item.answer for item in (draw(facts, "train", rng) for _ in range(3000))}
    told = {body["input"]["messages"][0]["content"]: body["value"] for body in wrong_answers(300, seed=4)}
    assert len(told.keys() & truth.keys()) > 10
    assert all(told[prompt] != truth[prompt] for prompt in told.keys() & truth.keys())


def test_another_answer_is_never_the_same() -> None:
    items = [Item(str(n), answer) for n, answer in enumerate("aaaaaaab")]
    assert {another("a", items, random.Random(n)) for n in range(50)} == {"b"}
    assert another("a", items[:3], random.Random(0)) not in {"", "a"}


def test_nobody_left_behind_when_the_daemon_does_not_come_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from edge_es.errors import EdgeError
    from service.demo import process

    started = []
    popen = process.subprocess.Popen

    def sleeper(command: list[str], **options: Any) -> Any:
        child = popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)
        started.append(child)
        return child

    monkeypatch.setattr(process.subprocess, "Popen", sleeper)
    monkeypatch.setattr(process, "START_SECONDS", 0.5)
    with pytest.raises(EdgeError, match="was not ready"), process.running(tmp_path, tmp_path / "log", []):
        pass
    assert started[0].returncode is not None
