"""Countdown puzzles: solvable, different from one another, and graded by the grader of the API."""

from edge_es import graders
from edge_es.study.countdown import TARGETS, puzzles


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
