"""Countdown: numbers, each of them used exactly once, to a target. The task that the paper forgets by."""

import random
from fractions import Fraction
from typing import Any

LEAST, MOST = 1, 99  # of a number
TARGETS = range(10, 100)

FORM = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic arithmetic operations "
    "(+, -, *, /) and each number must be used exactly once. Give the final answer in <answer> </answer> tags."
)


def puzzles(count: int, seed: int) -> list[dict[str, Any]]:
    """`count` different puzzles of 3 or 4 numbers that have a solution: {"prompt", "grader", "solution"}, as
    `graders.countdown` grades them."""
    rng = random.Random(seed)
    found: dict[tuple[tuple[int, ...], int], str] = {}
    while len(found) < count:
        numbers = [rng.randint(LEAST, MOST) for _ in range(rng.choice((3, 4)))]
        target, solution = _combined(numbers, rng)
        if target.denominator == 1 and int(target) in TARGETS:
            found.setdefault((tuple(sorted(numbers)), int(target)), solution)
    return [_puzzle(list(numbers), target, solution, rng) for (numbers, target), solution in found.items()]


def _combined(numbers: list[int], rng: random.Random) -> tuple[Fraction, str]:
    """The numbers put together two at a time at random: value and expression."""
    parts = [(Fraction(number), str(number)) for number in numbers]
    while len(parts) > 1:
        (a, left), (b, right) = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
        sign = rng.choice("+-*/" if b else "+-*")
        value = {"+": a + b, "-": a - b, "*": a * b}.get(sign)
        parts.append((a / b if value is None else value, f"({left} {sign} {right})"))
    return parts[0]


def _puzzle(numbers: list[int], target: int, solution: str, rng: random.Random) -> dict[str, Any]:
    rng.shuffle(numbers)
    return {
        "prompt": FORM.format(numbers=numbers, target=target),
        "grader": {"type": "countdown", "numbers": numbers, "target": target},
        "solution": solution,
    }
