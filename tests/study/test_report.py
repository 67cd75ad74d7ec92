"""What cells leave behind: means with intervals, tables, figures; no model is loaded."""

import csv
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from edge_es.errors import InputError
from edge_es.study import plan
from edge_es.study.figures import draw
from edge_es.study.grid import Tried, best
from edge_es.study.report import COLUMNS, MEASURES, rows, summary, write_tables
from edge_es.study.subject import Subject

KINDS = ("q_proj", "norm", "all")


def look(step: int, new: float, formula: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(MEASURES, 0.5)
    found |= {"step": step, "evaluations": 10 * step, "new_task": new, "formula_ratio": formula, "norm": step + 1.0}
    found["retention"] = {"add": 1.0, "sort": 1.0 - new / 10}
    found["sparsity"] = {kind: {"fp32@1e-06": 0.1, "bf16@1e-06": 0.2} for kind in KINDS}
    return found


def record(arm: str, task: str, seed: int, new: float) -> dict[str, Any]:
    formula = 1.02 if arm == "es-full" else None
    looks = [look(step, new * step / 4, formula) for step in range(5)]
    return {"cell": {"arm": arm, "task": task, "seed": seed}, "checkpoints": looks, "final": look(4, new, formula)}


RECORDS = [record("defaults", "alias", seed, 0.9 + seed / 100) for seed in range(3)] + [
    record("es-full", "alias", 0, 0.2),
    record("es-full", "style", 0, 0.1),
]


def test_means_and_intervals_are_over_seeds() -> None:
    found = summary(RECORDS)["arms"]
    one = found["defaults"]["alias"]
    assert one["seeds"] == [0, 1, 2] and one["new_task"] == pytest.approx(0.91)
    half = 4.303 * statistics.stdev([0.90, 0.91, 0.92]) / math.sqrt(3)
    assert one["ci"]["new_task"] == pytest.approx(half)
    assert one["retention"]["sort"] == pytest.approx(1 - 0.091)
    assert one["formula_ratio"] is None and one["ci"]["formula_ratio"] is None
    alone = found["es-full"]["style"]
    assert alone["ci"]["new_task"] is None and alone["formula_ratio"] == 1.02
    assert set(found["es-full"]) == {"alias", "style"} and set(one["sparsity"]) == set(KINDS)


def test_rows_fit_their_columns() -> None:
    found = rows(summary(RECORDS))
    assert all(len(row) == len(COLUMNS) for row in found)
    assert found[0][:4] == ("defaults", "alias", 3, "0.910 ± 0.025") and found[-1][3] == "0.100"


def test_tables_have_a_line_a_checkpoint(tmp_path: Path) -> None:
    looks, finals, zeros = write_tables(RECORDS, tmp_path)
    with looks.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 25 and lines[4]["retention.sort"] == str(1 - 0.9 / 10)
    with finals.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["arm"] for line in lines] == ["defaults", "es-full", "es-full"]
    assert float(lines[0]["new_task.ci"]) == pytest.approx(0.0248, abs=1e-4) and lines[1]["new_task.ci"] == ""
    assert float(lines[0]["retention.sort"]) == pytest.approx(1 - 0.091)
    with zeros.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["layers"] for line in lines[:3]] == list(KINDS) and float(lines[0]["bf16@1e-06"]) == pytest.approx(0.2)


def test_figures_are_drawn_and_the_same_again(tmp_path: Path) -> None:
    paths = draw(RECORDS, tmp_path)
    names = {path.name for path in paths}
    assert {"forgetting-alias.png", "forgetting-style.svg", "norm-alias.png", "sparsity-style.svg"} <= names
    first = {path: path.read_bytes() for path in paths}
    assert all(path.stat().st_size > 1000 for path in paths)
    draw(RECORDS, tmp_path)
    assert first == {path: path.read_bytes() for path in first}


def test_an_arm_that_published_nothing_has_figures(tmp_path: Path) -> None:
    still = record("defaults", "weak_skill", 0, 0.0)
    still["checkpoints"] = [{**one, "norm": 0.0, "formula_ratio": None} for one in still["checkpoints"]]
    assert {path.name for path in draw([still], tmp_path)} >= {"norm-weak_skill.png", "norm-weak_skill.svg"}


def test_the_matrix_has_every_arm_and_no_task_that_it_cannot_learn() -> None:
    cells = plan.whole(("defaults", "es-full", "sft", "grpo", "es-adapter", "es-adapter+kl"))
    assert len(cells) == len(set(cells))
    assert {task for arm, task, _ in cells if arm == "sft"} == {"alias", "style"}
    assert {task for arm, task, _ in cells if arm == "grpo"} == {"weak_skill"}
    assert [seed for arm, task, seed in cells if (arm, task) == ("defaults", "style")] == list(plan.SEEDS)
    assert {(task, seed) for arm, task, seed in cells if arm == "es-adapter+kl"} == {("alias", 100), ("alias", 101)}
    assert set(plan.quick()) <= set(cells)


def test_the_best_setting_is_what_learns_most_of_what_keeps() -> None:
    def tried(new: float, kept: float, name: float) -> Tried:
        finals = [{"new_task": new + d, "retention_min": kept, **dict.fromkeys(REST, 0.0)} for d in (-0.01, 0.01)]
        records = [{"cell": {"seed": seed}, "final": final} for seed, final in enumerate(finals)]
        return Tried("defaults", "alias", {"search": {"alpha": name, "sigma": 0.1}}, records)

    bold, good, shy = tried(0.9, 0.9, 1.0), tried(0.8, 0.99, 0.5), tried(0.7, 1.0, 0.1)
    assert best([bold, good, shy]) is good
    assert best([bold, tried(0.8, 0.97, 0.5)]) is bold
    assert good.name == "search.alpha=0.5,search.sigma=0.1"
    assert good.as_json()["seeds"] == [0, 1] and good.as_json()["new_task"] == pytest.approx(0.8)


REST = ("gain", "norm", "kl_prior", "seconds")


def test_what_is_offered_depends_on_the_model() -> None:
    stories = Subject("a/model", Path("stories.txt"))
    assert plan.tasks_of("defaults", stories) == ("stories",) and plan.tasks_of("sft", stories) == ()
    assert plan.tasks_of("grpo", Subject("a/model")) == ("countdown",)
    assert {task for _, task, _ in plan.whole(("defaults", "es-adapter"), stories)} == {"stories"}
    assert {arm for arm, _, _ in plan.quick(stories)} == {"defaults", "es-full"}
    for task, subject, said in (
        ("poetry", Subject(), "is unknown"),
        ("alias", stories, "the embedded model's own"),
        ("stories", Subject(), "--stories"),
        ("countdown", Subject("a/model"), "--prior"),
    ):
        with pytest.raises(InputError, match=said):
            plan.can_learn(task, subject)
