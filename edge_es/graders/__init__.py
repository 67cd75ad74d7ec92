"""Graders: how good an answer is, from 0 to 1, in the vocabulary of OpenAI's graders and a few of our own.

A grader is plain JSON: {"type": ..., fields}. `validate` refuses a bad one by field; `grade` then never
raises, whatever the answer. Nothing here runs code, reaches the network, or takes unbounded time: patterns
have a time limit, schemas a budget of steps; an answer of over MAX_ANSWER characters scores 0 always.

| type | fields | score |
| --- | --- | --- |
| string_check | operation eq, ne, like, ilike; reference | 1 or 0; like: contains, ilike: in any case |
| text_similarity | evaluation_metric; reference | fuzzy_match, rouge_1 .. rouge_5, rouge_l, gleu |
| numeric | reference; tolerance (0) | 1 if the last number in the answer is that near to the reference |
| regex | pattern; search (false); ignore_case (false) | 1 if it matches all of the answer, or a part of it |
| json_schema | schema | 1 if the answer is JSON that the schema admits |
| countdown | numbers; target | 1 if the answer is arithmetic with every number once that gives the target |

OpenAI's `name` and `input` ("{{sample.output_text}}" only) are accepted and change nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_es.errors import InputError
from edge_es.graders import countdown, pattern, schema, text
from edge_es.slices import Slices

MAX_ANSWER = 20_000  # characters
SLICE = 0.02  # seconds of grading after which a request may go
PATIENCE = 1.0  # seconds that one grader may take for all of a batch's answers


@dataclass(frozen=True)
class _Kind:
    required: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], None]
    score: Callable[[Mapping[str, Any], str], float]


_KINDS: dict[str, _Kind] = {
    "string_check": _Kind(("operation", "reference"), (), text.check_string, text.string_check),
    "text_similarity": _Kind(("evaluation_metric", "reference"), (), text.check_similarity, text.similarity),
    "numeric": _Kind(("reference",), ("tolerance",), text.check_numeric, text.numeric),
    "regex": _Kind(("pattern",), ("search", "ignore_case"), pattern.check, pattern.score),
    "json_schema": _Kind(("schema",), (), schema.check, schema.score),
    "countdown": _Kind(("numbers", "target"), (), countdown.check, countdown.score),
}
TYPES: tuple[str, ...] = tuple(_KINDS)


def validate(grader: Mapping[str, Any]) -> None:
    """Raises InputError with `param` "grader" or "grader.<field>" if `grade` could not use the grader."""
    if not isinstance(grader, Mapping):
        raise InputError("the grader must be an object with a `type`", "grader")
    name = grader.get("type")
    if not isinstance(name, str) or name not in _KINDS:
        raise InputError(f"grader type {str(name)[:40]!r} is unknown; one of {', '.join(TYPES)}", "grader.type")
    kind = _KINDS[name]
    for field in kind.required:
        if field not in grader:
            raise InputError(f"a {name} grader needs `{field}`", f"grader.{field}")
    known = {"type", "name", "input", *kind.required, *kind.optional}
    for field in grader:
        if field not in known:
            fields = ", ".join((*kind.required, *kind.optional))
            raise InputError(f"a {name} grader has no field {str(field)[:40]!r}; it has {fields}", f"grader.{field}")
    if not isinstance(grader.get("name", ""), str):
        raise InputError("the grader's name must be a text", "grader.name")
    if "".join(str(grader.get("input", "{{sample.output_text}}")).split()) != "{{sample.output_text}}":
        raise InputError('a grader\'s input can only be "{{sample.output_text}}": the answer', "grader.input")
    kind.check(grader)


def grade(grader: Mapping[str, Any], answer: str) -> float:
    """Score of one answer, 0 to 1. `grader` has passed `validate`; no answer text raises."""
    if len(answer) > MAX_ANSWER:
        return 0.0
    return _KINDS[grader["type"]].score(grader, answer)


def graded(given: Sequence[tuple[Mapping[str, Any], str]]) -> Slices[list[float]]:
    """`grade` of every (grader, answer). A grader that takes over PATIENCE seconds scores 0 everywhere: scores of some
    answers alone would be told as a difference between them."""
    found, spent = [], dict.fromkeys((id(grader) for grader, _ in given), 0.0)
    since = began = time.perf_counter()
    for grader, answer in given:
        found.append(grade(grader, answer) if spent[id(grader)] <= PATIENCE else 0.0)
        now = time.perf_counter()
        spent[id(grader)] += now - began
        began = now
        if now - since > SLICE:
            yield
            since = began = time.perf_counter()
    return [0.0 if spent[id(grader)] > PATIENCE else score for (grader, _), score in zip(given, found, strict=True)]
