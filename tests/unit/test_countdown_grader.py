"""The grader of Countdown: exact arithmetic on the given numbers, and nothing is executed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es import graders
from edge_es.graders import countdown


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("(3+5)*(7-2)", 1),
        ("(3 + 5) × (7 − 2)", 1),
        ("(3+5)*(7-2) = 40", 1),
        ("(3+5)*(7-2) = 41", 0),
        ("Let me see. <answer>(3+5)*(7-2)</answer>", 1),
        ("<answer>1</answer><answer>(3+5)*(7-2)</answer>", 1),
        ("(5+3)*(7-2)*1", 0),  # a number that was not given
        ("5*(7+3-2)", 1),  # another way
        ("8*5", 0),
        ("3+5+7+2", 0),  # all used, wrong value
        ("40", 0),
        ("(3+5)(7-2)", 0),
        ("-(3+5)*(2-7)", 0),  # no unary minus
        ("3+5*(7-2", 0),
        (")3+5(*7-2", 0),
        ("((3+5))*((7-2))", 1),
        ("3**5+7-2", 0),
        ("__import__('os')", 0),
    ],
)
def test_countdown(answer: str, score: float) -> None:
    assert graders.grade({"type": "countdown", "numbers": [3, 5, 7, 2], "target": 40}, answer) == score


def test_countdown_is_exact_and_knows_precedence() -> None:
    assert graders.grade({"type": "countdown", "numbers": [8, 3, 8, 3], "target": 24}, "8/(3-8/3)") == 1.0
    assert graders.grade({"type": "countdown", "numbers": [1, 2, 3], "target": 7}, "1+2*3") == 1.0
    assert graders.grade({"type": "countdown", "numbers": [9, 3, 2], "target": 4}, "9-3-2") == 1.0
    assert graders.grade({"type": "countdown", "numbers": [8, 4, 2], "target": 1}, "8/4/2") == 1.0
    assert graders.grade({"type": "countdown", "numbers": [1, 0], "target": 0}, "1/0") == 0.0


def _tree(draw: Any, depth: int) -> tuple[str, list[int]]:
    if depth == 0 or draw(st.booleans()):
        n = draw(st.integers(1, 20))
        return str(n), [n]
    (left, a), (right, b) = _tree(draw, depth - 1), _tree(draw, depth - 1)
    return f"({left}{draw(st.sampled_from('+-*'))}{right})", a + b


@given(data=st.data())
def test_countdown_agrees_with_python_on_whole_numbers(data: st.DataObject) -> None:
    expression, numbers = _tree(data.draw, 3)
    value = eval(expression)  # the test's own text of digits, + - * and parentheses
    assert countdown.evaluate(countdown._tokens(expression)) == value
    if abs(value) <= countdown.MAX_NUMBER:
        grader = {"type": "countdown", "numbers": numbers, "target": value}
        graders.validate(grader)
        assert graders.grade(grader, expression) == 1.0
        assert graders.grade({**grader, "numbers": [*numbers, 1][:12]}, expression) == float(len(numbers) >= 12)
