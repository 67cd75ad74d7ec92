"""Learning from ratings by a coin: the stream, the record of a run, and what is reported of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.config import Config, ModelSection
from edge_es.fitness import texts_of
from edge_es.model import load_base
from edge_es.pocket.abilities import part_of
from edge_es.study import noise
from edge_es.study.adapter import EdgeES
from edge_es.study.noise import Coin
from edge_es.study.noise_report import COLUMNS, rows, summary
from edge_es.study.tasks import material
from service.cli.main import app
from tests.study.small import SMALL, protect_few


def test_a_run_keeps_every_step_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_few(noise, monkeypatch)
    arguments = ["study", "noise", "--steps", "6", "--items", "8", "--seed", "4", *SMALL, "--json"]
    arguments += ["--set", "gates.min_reliability=0.9", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["runs"]
    record = json.loads((tmp_path / "out" / "noise-4.json").read_text(encoding="utf-8"))
    steps = record["steps"]
    assert len(steps) == 6 and record["rated"] == 64  # 32 at the first step, 32 at the fifth
    assert all(set(step) >= {"fitness_reliability", "tie_rate", "reason", "norm"} for step in steps)
    assert any(step["fitness_reliability"] for step in steps)
    rejected = [step for step in steps if step["reason"] is not None]
    assert rejected and record["rejections"] == {"no evidence of a signal: reliability": len(rejected)}
    assert found["published"] == pytest.approx(1 - len(rejected) / 6) and "steps" not in found
    assert len(found["retention"]) == 9 and found["retention_min"] > 0.5
    assert "noise-4, step 6:" in done.stderr

    def never(*_: object) -> None:
        raise AssertionError("it was run before")

    monkeypatch.setattr(noise, "learn", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads(again.stdout)["runs"] == [found]
    with pytest.raises(AssertionError):
        CliRunner().invoke(app, [*arguments, "--steps", "7"], catch_exceptions=False)


def test_the_honest_stream_is_the_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_few(noise, monkeypatch)
    arguments = ["study", "noise", "--honest", "--steps", "2", "--items", "8", *SMALL, "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "honest-0.json").read_text(encoding="utf-8"))
    assert record["rated"] == 0 and record["new_task"] is not None and len(record["steps"]) == 2
    assert "honest" in done.stdout


def test_a_coin_rates_answers_some_of_which_are_wrong() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    coin, again = Coin(base, 1), Coin(base, 1)
    events = coin.events(96)
    assert events == again.events(96) and len({event.id for event in events}) == 96
    assert {event.value for event in events} == {0.0, 1.0} and coin.centre == sum(e.value or 0 for e in events) / 96
    assert 0.6 < coin.right / coin.exact < 0.97
    assert all(texts_of(base, event) for event in events)
    assert coin.events(2) != again.events(3)[:1]
    prompts = [event.exchanges[0].prompt.messages[0].content for event in events]
    words = [p.split()[1].rstrip(".") for p in prompts if p.startswith("Uppercase")]
    assert words and all(part_of(f"uppercase:{word}") == "train" for word in words)


def test_what_a_learner_receives_comes_first_and_the_oldest_leave() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    it = material(base, "alias", 0, 4, 20)
    learn = {"batch": 4, "max_batch": 4, "groups": 1}
    config = Config.model_validate({"search": {"population": 4, "focus": False}, "learn": learn})
    at = EdgeES(base, config, it.events[:8], it.protected[:32])
    at.receive(it.events[8:14], keep=10)
    for _ in range(3):
        at.step()
    drawn = [row.events for row in at.journal.rows() if row.kind == "step"]
    kept = {event.id for event in it.events[4:14]}
    new = [event.id for event in it.events[8:14]]
    assert list(drawn[0]) == new[:4] and list(drawn[1][:2]) == new[4:]
    assert all(set(one) <= kept and len(set(one)) == 4 for one in drawn)
    at.receive(it.events[14:15], keep=12)
    at.step()
    assert at.journal.rows()[-1].events[0] == it.events[14].id and len(at.journal.rows()[-1].events) == 4


def record(stream: str, published: float, least: float, growth: float | None) -> dict[str, Any]:
    return {
        "run": {"stream": stream, "seed": 0, "steps": 2},
        "published": published,
        "rejections": {"canary": 1},
        "norm": 0.3,
        "norm_growth": growth,
        "walk_ratio": None,
        "retention": {"add": 1.0, "sort": least},
        "steps": [{"fitness_reliability": 0.5}, {"fitness_reliability": None}],
    }


def test_the_bar_is_told_part_by_part() -> None:
    found = summary(
        [record("noise", 0.05, 0.99, None), record("noise", 0.06, 0.989, 1.4), record("honest", 0.79, 1.0, 2.0)]
    )
    assert [all(one["met"].values()) for one in found] == [True, False, False]
    assert found[1]["met"] == {"published": False, "retention": False, "norm": False}
    assert found[2]["met"] == {"published": False, "retention": True}
    assert found[0]["retention_mean"] == pytest.approx(0.995) and found[0]["reliability_mean"] == 0.5
    table = list(rows(found))
    assert all(len(row) == len(COLUMNS) for row in table) and table[0][9] == "yes"


def test_growth_is_since_the_middle() -> None:
    assert noise._norms([1.0, None, 2.0, None], 2.0) == {"norm": 2.0, "norm_most": 2.0, "norm_growth": 2.0}
    assert noise._norms([None, None, None, 0.5], 0.5)["norm_growth"] is None
