"""Tasks in a sequence: their items, the record of a run, and what is reported of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.pocket.abilities import part_of
from edge_es.study import sequence
from edge_es.study.sequence import ORDER, WORDINGS, wording
from edge_es.study.sequence_report import COLUMNS, rows, summary
from service.cli.main import app
from tests.study.small import SMALL, protect_few


def test_a_run_looks_at_every_task_so_far_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_few(sequence, monkeypatch)
    monkeypatch.setattr(sequence, "TASK_TEST", 12)
    monkeypatch.setattr(sequence, "LOOKS", 1)
    arguments = ["study", "sequence", "--evaluations", "64", "--events", "12", "--items", "8", "--seed", "2", *SMALL]
    arguments += ["--json", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["runs"]
    assert list(found["tasks"]) == list(ORDER) and len(found["retention"]) == 9
    record = json.loads((tmp_path / "out" / "sequence-2.json").read_text(encoding="utf-8"))
    assert [list(phase["tasks"]) for phase in record["phases"]] == [list(ORDER[: n + 1]) for n in range(5)]
    assert [(phase["evaluations"], phase["steps"]) for phase in record["phases"]] == [(64, 2)] * 5
    assert [record["peaks"][name] for name in ORDER] == [found["tasks"][name]["peak"] for name in ORDER]
    assert "sequence-2, style:" in done.stderr

    def never(*_: object) -> None:
        raise AssertionError("it was run before")

    monkeypatch.setattr(sequence, "learn", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads(again.stdout)["runs"] == [found]
    with pytest.raises(AssertionError):
        CliRunner().invoke(app, [*arguments, "--until", "0.5"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "prompt"), [("arrange", "Jaxify "), ("enlarge", "Make "), ("measure", "Give the zilk of ")]
)
def test_wordings_are_new_and_their_tests_held_out(name: str, prompt: str) -> None:
    shown, tested = wording(name, 512)
    assert len(shown) == 512 and len(tested) == 400
    for items, part in ((shown, "train"), (tested, "dev")):
        assert {part_of(item.key) for item in items} == {part}
        assert all(item.prompt.startswith(prompt) for item in items)
    assert not {item.prompt for item in shown} & {item.prompt for item in tested}
    answered = {"arrange": sorted, "enlarge": str.upper, "measure": len}
    for item in tested[:50]:
        asked = item.prompt.removeprefix(prompt).removesuffix(" quozzy.").rstrip(".")
        what = asked.split() if name == "arrange" else asked
        right = answered[name](what)  # type: ignore[operator]
        assert item.answer == (" ".join(right) if name == "arrange" else str(right))
    assert set(WORDINGS) < set(ORDER)


def phase(task: str, tasks: dict[str, float], least: float) -> dict[str, Any]:
    return {"task": task, "evaluations": 9, "start": 0.0, "tasks": tasks, "retention": {"add": least}, "norm": 1.0}


def test_the_bar_is_of_peaks_and_of_every_phase() -> None:
    def record(end: float, least: float) -> dict[str, Any]:
        phases = [phase("alias", {"alias": 0.9}, least), phase("style", {"alias": end, "style": 1.0}, 1.0)]
        return {"sequence": {"seed": 1}, "phases": phases, "peaks": {"alias": 0.9, "style": 1.0}}

    found = summary([record(0.82, 0.98), record(0.80, 0.98), record(0.9, 0.97)])
    assert [one["met"] for one in found] == [
        {"tasks": True, "retention": True},
        {"tasks": False, "retention": True},
        {"tasks": True, "retention": False},
    ]
    assert found[1]["tasks"]["alias"]["end_over_peak"] == pytest.approx(0.8 / 0.9)
    table = list(rows(found))
    assert len(table) == 6 and all(len(row) == len(COLUMNS) for row in table)


def test_what_was_never_learned_is_not_kept() -> None:
    phases = [phase("alias", {"alias": 0.0}, 1.0)]
    (found,) = summary([{"sequence": {"seed": 1}, "phases": phases, "peaks": {"alias": 0.0}}])
    assert found["tasks"]["alias"]["end_over_peak"] is None and not found["met"]["tasks"]
