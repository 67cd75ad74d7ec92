"""The regex grader: Python's pattern syntax, matched under a time limit.

The matcher is the `regex` package, for its time limit; the syntax is that of the standard `re`, less what
would blow up when it is compiled (nested counted repeats) and less the package's own fuzzy matching.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from re import _parser  # type: ignore[attr-defined]  # the tree of a pattern, without compiling it
from typing import Any

import regex

from edge_es.errors import InputError

MAX_PATTERN = 500  # characters
MAX_SIZE = 5_000  # of the pattern with its counted repeats written out
SECONDS = 0.25  # a pattern that takes longer on an answer scores 0

_BRACE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\{(?!\d*,?\d*\}))", re.DOTALL)


def _size(tree: Any) -> int:
    """Number of nodes of a parsed pattern, each times the largest finite count of the repeats around it."""
    total = 0
    for item in tree:
        if isinstance(item, _parser.SubPattern):
            total += _size(item)
        elif isinstance(item, tuple) and len(item) == 3 and isinstance(item[2], _parser.SubPattern):
            low, high, inner = item  # a repeat: (min, max, pattern)
            count = low if high is _parser.MAXREPEAT or high == _parser.MAXREPEAT else high
            total += max(1, count) * max(1, _size(inner))
        elif isinstance(item, tuple | list):
            total += _size(item)
        else:
            total += 1
    return total


def check(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    pattern = grader["pattern"]
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise InputError(f"a regex pattern must be a text of at most {MAX_PATTERN} characters", "grader.pattern")
    for field in ("search", "ignore_case"):
        if not isinstance(grader.get(field, False), bool):
            raise InputError(f"a regex grader's {field} must be true or false", f"grader.{field}")
    try:
        size = _size(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise InputError(f"the regex pattern is not valid in Python's `re`: {error}", "grader.pattern") from None
    if size > MAX_SIZE:
        raise InputError("the regex pattern's counted repeats multiply to too much", "grader.pattern")
    if any(found.group(1) for found in _BRACE.finditer(pattern)):
        raise InputError("a `{` that counts no repeats must be written `\\{` in a regex", "grader.pattern")
    try:
        _compiled(pattern, False)
    except (regex.error, RecursionError, OverflowError, ValueError, KeyError) as error:
        raise InputError(f"the regex pattern cannot be compiled: {error}", "grader.pattern") from None


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> Any:
    return regex.compile(pattern, regex.VERSION0 | (regex.IGNORECASE if ignore_case else 0))


def score(grader: Mapping[str, Any], answer: str) -> float:
    """1 if the pattern matches the whole answer, or with `search` a part of it. Out of time or memory: 0."""
    compiled = _compiled(grader["pattern"], grader.get("ignore_case", False))
    attempt = compiled.search if grader.get("search", False) else compiled.fullmatch
    try:
        return float(attempt(answer, timeout=SECONDS, concurrent=True) is not None)  # other threads run meanwhile
    except (TimeoutError, MemoryError, RecursionError, regex.error):
        return 0.0
