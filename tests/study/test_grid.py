"""`edge-es study grid`: every setting on the development seeds, once, and the best of them by the stated criterion."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_es.study.arms import ARMS
from service.cli.main import app
from tests.study.test_cell import few_items

__all__ = ["few_items"]  # a fixture

RUN = ["study", "grid", "--arm", "sft", "--task", "alias", "--evaluations", "16", "--looks", "1", "--items", "4"]


def test_a_grid_is_run_once_and_its_best_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "sft", replace(ARMS["sft"], grid=ARMS["sft"].grid[2:]))
    arguments = [*RUN, "--set", "batch=8", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    tried = found["arms"]["sft"]["alias"]["tried"]
    assert [one["setting"] for one in tried] == [dict(one) for one in ARMS["sft"].grid]
    assert all(one["seeds"] == [0, 1] for one in tried)
    assert found["arms"]["sft"]["alias"]["best"] in [one["setting"] for one in tried]
    assert "0.98" in found["criterion"]
    record = json.loads((tmp_path / "rate=0.0003" / "sft-alias-1.json").read_text(encoding="utf-8"))
    assert record["cell"]["over"] == {"batch": 8, "rate": 0.0003}

    def never(*_: object) -> None:
        raise AssertionError("it was run before")

    monkeypatch.setattr("edge_es.study.cell.learner", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and again.stdout.count("sft") == 2 and again.stdout.count("*") == 1


def test_an_arm_without_a_grid_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["study", "grid", "--arm", "es-adapter+kl", "--out", str(tmp_path / "out")])
    assert done.exit_code in (1, 2) and "has no grid" in done.stderr.replace("\n", " ")
