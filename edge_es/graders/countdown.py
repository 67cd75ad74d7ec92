"""The countdown grader: arithmetic on given numbers, in exact fractions, without eval."""

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from edge_es.errors import InputError

MAX_NUMBERS = 12
MAX_NUMBER = 10**9
MAX_EXPRESSION = 500  # characters

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:([0-9]{1,10})(?![0-9])|([-+*/()]))")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}


class _Malformed(Exception):
    """The text is not an expression of whole numbers, + - * / and parentheses."""


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_NUMBER


def check(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    numbers = grader["numbers"]
    if not isinstance(numbers, list | tuple) or not 1 <= len(numbers) <= MAX_NUMBERS:
        raise InputError(f"a countdown grader's numbers must be a list of 1 to {MAX_NUMBERS}", "grader.numbers")
    if not all(_is_whole(number, 0) for number in numbers):
        raise InputError(f"a countdown grader's numbers must be whole, 0 to {MAX_NUMBER}", "grader.numbers")
    if not _is_whole(grader["target"], -MAX_NUMBER):
        raise InputError(f"a countdown grader's target must be whole, at most {MAX_NUMBER}", "grader.target")


def _tokens(text: str) -> list[int | str]:
    text = text.strip()
    tokens: list[int | str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _Malformed
        tokens.append(int(found.group(1)) if found.group(1) else found.group(2))
        at = found.end()
    return tokens


def _apply(values: list[Fraction], sign: str) -> None:
    right, left = values.pop(), values.pop()
    if sign == "+":
        values.append(left + right)
    elif sign == "-":
        values.append(left - right)
    elif sign == "*":
        values.append(left * right)
    elif right:
        values.append(left / right)
    else:
        raise _Malformed


def evaluate(tokens: list[int | str]) -> Fraction:
    """Value of an infix expression, by two stacks (no recursion). Raises _Malformed, by division by 0 too."""
    values: list[Fraction] = []
    signs: list[str] = []
    operand = True  # what must come next
    for token in tokens:
        if isinstance(token, int):
            if not operand:
                raise _Malformed
            values.append(Fraction(token))
            operand = False
        elif token == "(":
            if not operand:
                raise _Malformed
            signs.append(token)
        elif operand:
            raise _Malformed
        elif token == ")":
            while signs and signs[-1] != "(":
                _apply(values, signs.pop())
            if not signs:
                raise _Malformed
            signs.pop()
        else:
            while signs and _RANK.get(signs[-1], 0) >= _RANK[token]:
                _apply(values, signs.pop())
            signs.append(token)
            operand = True
    if operand or "(" in signs:
        raise _Malformed
    while signs:
        _apply(values, signs.pop())
    return values[0]


def score(grader: Mapping[str, Any], answer: str) -> float:
    """1 if the answer's expression uses every number exactly once and gives the target.

    The expression is what stands in the last <answer>...</answer>, or else the whole answer; "= target" may
    follow it.
    """
    tagged = _ANSWER.findall(answer) if "</answer>" in answer else []
    text = (tagged[-1] if tagged else answer).translate(_SIGNS)
    if len(text) > MAX_EXPRESSION:
        return 0.0
    expression, equals, claimed = text.partition("=")
    if equals and claimed.strip() != str(grader["target"]):
        return 0.0
    try:
        tokens = _tokens(expression)
        if Counter(token for token in tokens if isinstance(token, int)) != Counter(grader["numbers"]):
            return 0.0
        return float(evaluate(tokens) == grader["target"])
    except _Malformed:
        return 0.0
