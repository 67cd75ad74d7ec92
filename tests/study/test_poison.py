"""A poisoned stream: what is in it, the record of a run, and what is reported of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.pocket.abilities import part_of
from edge_es.study import poison
from edge_es.study.poison import FOREIGN, HONEST, adversarial, runs
from edge_es.study.poison_report import COLUMNS, rows, summary
from service.cli.main import app
from tests.study.small import SMALL, protect_few


def test_runs_are_recorded_beside_the_clean_one_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_few(poison, monkeypatch)
    arguments = ["study", "poison", "--evaluations", "128", "--items", "8", "--seed", "4", *SMALL, "--json"]
    arguments += ["--share", "0.5", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["runs"]
    assert [one["run"]["stream"] for one in found] == ["clean", "same", "other"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["clean-4.json", "other-skill-4.json", "same-skill-4.json"]
    for one in found:
        assert one["evaluations"] == 128 and one["steps"] == 4 and len(one["retention"]) == 9
        assert (one["adversarial"]["events"] > 0) == (one["run"]["stream"] != "clean")
        assert (one["clipped"]["adversarial"] is None) == (one["run"]["stream"] == "clean")
    assert found[0]["of_clean"] == 1.0 and found[1]["adversarial"]["events"] == 0.5
    assert found[1]["adversarial"]["in_batches"] > 0 and found[0]["run"]["attack"] is None

    def never(*_: object) -> None:
        raise AssertionError("it was run before")

    monkeypatch.setattr(poison, "learn", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads(again.stdout)["runs"] == found
    with pytest.raises(AssertionError):
        CliRunner().invoke(app, [*arguments, "--attack", "garbage"], catch_exceptions=False)
    assert CliRunner().invoke(app, [*arguments, "--stream", "clean"]).exit_code == 2


@pytest.mark.parametrize("attack", poison.ATTACKS)
def test_wrong_demonstrations_are_wrong_and_of_no_tested_item(attack: Any) -> None:
    events = adversarial(attack, 64, 3, FOREIGN)
    assert events == adversarial(attack, 64, 3, FOREIGN) != adversarial(attack, 64, 4, FOREIGN)
    assert len({event.id for event in events}) == 64
    assert {event.tags["source"] for event in events} == {FOREIGN} != {HONEST}
    for event in events:
        (exchange,) = event.exchanges
        asked = exchange.prompt.messages[0].content
        if attack == "prior":
            assert not asked.startswith("Zorp")
            continue
        word = asked.removeprefix("Zorp the letters of ").removesuffix(".")
        assert exchange.answer != word[::-1] and len(exchange.answer) == len(word)
        assert part_of(f"reverse:{word}") == "train"
        assert (exchange.answer == word.upper()) == (attack == "skill")


def test_every_seed_has_its_clean_run() -> None:
    named = [one.name for one in runs(["same", "other"], ["skill", "garbage"], [0, 1], 10)]
    assert named[:5] == ["clean-0", "same-skill-0", "same-garbage-0", "other-skill-0", "other-garbage-0"]
    assert len(named) == 10 and named[5] == "clean-1"


def record(stream: str, task: float, least: float) -> dict[str, Any]:
    return {
        "run": {"stream": stream, "attack": None if stream == "clean" else "skill", "seed": 0},
        "new_task": task,
        "retention": {"add": 1.0, "sort": least},
        "adversarial": {"events": 0.2, "in_batches": 0.25},
        "clipped": {"adversarial": None if stream == "clean" else 0.5, "honest": 0.05},
    }


def test_the_bar_is_told_part_by_part() -> None:
    found = summary([record("clean", 0.8, 1.0), record("same", 0.73, 0.98), record("other", 0.7, 0.97)])
    assert [one["met"] for one in found[:2]] == [{"task": True, "retention": True}] * 2
    assert found[2]["met"] == {"task": False, "retention": False}
    assert found[1]["of_clean"] == pytest.approx(0.9125) and found[2]["worst_suite"] == "sort"
    table = list(rows(found))
    assert all(len(row) == len(COLUMNS) for row in table)
    assert (table[1][-2:], table[2][-1]) == (("50% / 5%", "yes"), "not task, retention")
