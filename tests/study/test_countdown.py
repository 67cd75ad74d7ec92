"""Countdown puzzles: solvable, different from one another, and graded by the grader of the API."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_es import graders
from edge_es.config import ModelSection
from edge_es.errors import InputError
from edge_es.feedback import Prompt
from edge_es.model import Base, load_base
from edge_es.probes.suites import Item
from edge_es.spaces.delta import Delta
from edge_es.study.arms import Tree, arm, learner
from edge_es.study.cell import Cell, run_cell
from edge_es.study.change import measured
from edge_es.study.countdown import TARGETS, puzzles
from edge_es.study.material import Material
from edge_es.study.subject import Subject
from edge_es.study.suites import probed
from edge_es.study.tasks import material


def test_every_puzzle_has_the_solution_that_it_states() -> None:
    found = puzzles(60, seed=3)
    assert len({(tuple(sorted(p["grader"]["numbers"])), p["grader"]["target"]) for p in found}) == 60
    for puzzle in found:
        graders.validate(puzzle["grader"])
        numbers, target = puzzle["grader"]["numbers"], puzzle["grader"]["target"]
        assert len(numbers) in (3, 4) and target in TARGETS
        assert str(numbers) in puzzle["prompt"] and str(target) in puzzle["prompt"]
        assert graders.grade(puzzle["grader"], f"So <answer>{puzzle['solution']}</answer>") == 1.0
        assert graders.grade(puzzle["grader"], f"<answer>{numbers[0]}</answer>") == 0.0


def test_the_same_seed_gives_the_same_puzzles() -> None:
    assert puzzles(5, 1) == puzzles(5, 1) != puzzles(5, 2)


def test_what_is_generated_is_graded() -> None:
    """The embedded model adds, so that what it writes is an expression of one number."""
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    prompt = Prompt.user("What is 2+3?")
    items = [
        Item(prompt, grader={"type": "countdown", "numbers": [number], "target": number}, max_tokens=8)
        for number in (5, 6)
    ]
    assert probed(base, "countdown", "generation", items).measure(base, Delta()).score == 0.5


@pytest.mark.parametrize(("name", "over"), [("defaults", {"search": {"population": 4}, "learn": {"batch": 2}})])
def test_answers_have_room_and_priors_are_the_models(name: str, over: Tree) -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    it = material(base, "countdown", 0, items=4, events=4)
    assert len(it.events) == 4 and {event.kind for event in it.events} == {"task"} and len(it.priors) == 9
    assert it.answer_tokens == 128 and len(it.near_prior) == 64 and it.task.texts[0].answer == ()
    at = learner(arm(name), base, replace(it, answer_tokens=4), 0, over)
    at.step()
    assert at.evaluations > 0 and measured(at.moved()).norm == 0.0, "all tie at 0, and the signal gate says so"


def test_further_priors_are_the_users_probe_files(tmp_path: Path) -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    rows = [{"prompt": f"What is {n}+12?", "choices": [f"{n + 12}", "7"], "label": 0} for n in range(22, 26)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    it = material(base, "countdown", 0, items=2, events=2, subject=Subject(priors=(path,)))
    assert it.priors["sums"].measure(base, Delta()).score == 1.0 and len(it.priors["sums"].texts) == 4
    (tmp_path / "add.jsonl").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="two prior suites are named add"):
        material(base, "countdown", 0, items=2, events=2, subject=Subject(priors=(tmp_path / "add.jsonl",)))


def test_a_model_that_is_never_right_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_es.study.graded.TESTED", 4)
    monkeypatch.setattr("edge_es.study.graded.ANSWER_TOKENS", 8)
    monkeypatch.setattr("edge_es.study.cell.material", few_items)
    with pytest.raises(InputError, match=r"graded answers that are never right: pocket solves 0 of 4"):
        run_cell(Cell("grpo", "countdown", 0, 8, events=4, over={"batch": 2, "group": 2}), tmp_path)
    assert not list(tmp_path.iterdir())


def few_items(base: Base, task: str, seed: int, items: int | None, events: int, subject: Subject) -> Material:
    return material(base, task, seed, 4, events, subject)
