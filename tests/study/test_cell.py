"""A cell from its first step to its file, by the command line, which does not run it again."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_es.study.cell import Cell, finished, run_cell
from service.cli.main import app

SMALL = ["--seed", "3", "--evaluations", "60", "--looks", "2", "--items", "8"]
SET = ["--set", "batch=8", "--set", "rate=1e-3"]


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look reads all items of every suite, which takes long on two cores."""
    from edge_es.study import cell, tasks

    def few(base, task, seed, items, events, subject):  # type: ignore[no-untyped-def]
        return tasks.material(base, task, seed, items or 12, events, subject)

    monkeypatch.setattr(cell, "material", few)


def test_a_cell_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        "study",
        "forgetting",
        "--arm",
        "sft",
        "--task",
        "alias",
        *SMALL,
        *SET,
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["arms"]["sft"]["alias"]
    assert found["seeds"] == [3] and found["evaluations"] == 64 and found["gain"] > 0 and found["peak_bytes"] > 0
    assert "sft-alias-3, 64 evaluations: task" in done.stderr
    record = json.loads((tmp_path / "out" / "sft-alias-3.json").read_text(encoding="utf-8"))
    assert [look["step"] for look in record["checkpoints"]] == [0, 4, 8]
    assert record["cell"]["over"] == {"batch": 8, "rate": 1e-3}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"final.csv", "checkpoints.csv", "norm-alias.svg", "forgetting-alias.png"} <= names
    assert not [name for name in names if name.endswith(".part")]

    def never(*_: object) -> None:
        raise AssertionError("it was run before")

    monkeypatch.setattr("edge_es.study.cell.learner", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads(again.stdout)["arms"]["sft"]["alias"] == found
    with pytest.raises(AssertionError):
        CliRunner().invoke(app, [*arguments, "--set", "rate=2e-3"], catch_exceptions=False)


def test_it_ends_when_the_task_is_learned(tmp_path: Path) -> None:
    cell = Cell("sft", "alias", 0, 10_000, looks=200, items=8, until=0.0, over={"batch": 8, "rate": 1e-3})
    assert finished(cell, tmp_path) is None
    record = run_cell(cell, tmp_path)
    assert len(record["checkpoints"]) == 2 and record["final"]["evaluations"] < 200
    assert finished(cell, tmp_path) == json.loads(json.dumps(record))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--arm", "sgd"], "arm 'sgd' is unknown"),
        (["--arm", "sft", "--task", "poetry"], "task 'poetry' is unknown"),
        (["--arm", "sft", "--task", "alias", "--set", "rate=fast"], "write it like search.alpha=0.5"),
        (["--arm", "defaults", "--task", "alias", "--set", "search.speed=1"], "search.speed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(wrong: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["study", "forgetting", *SMALL, *wrong, "--out", str(tmp_path / "out")])
    assert done.exit_code in (1, 2) and said in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()
