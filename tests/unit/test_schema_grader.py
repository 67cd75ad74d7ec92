"""The grader of JSON by a schema: what it takes, and what it must not cost."""

import json
from typing import Any

import pytest

from edge_es import graders
from edge_es.errors import InputError
from edge_es.graders import schema

SAMPLE: dict[str, Any] = {
    "type": "json_schema",
    "schema": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "integer"}},
    },
}


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"a": 3}', 1),
        ('{"a": "3"}', 0),
        ("{}", 1),
        ("[]", 0),
        ("", 0),
        ('{"a": 3} and more', 0),
        ('{"b": NaN}', 0),
    ],
)
def test_json_schema(answer: str, score: float) -> None:
    assert graders.grade(SAMPLE, answer) == score


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "strng"},
        {"$ref": "http://example.com/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$ref": "#/$defs/absent"},
        {"pattern": "("},
        {"items": {"pattern": "(?:(?:a{1000}){1000}){1000}"}},
        {"patternProperties": {"(a|aa)+$": True}},
        {"unevaluatedProperties": False},
        {"$schema": "http://json-schema.org/draft-03/schema#"},
        {"properties": {"a": {"$id": "http://example.com/"}}},
        {"enum": ["x" * 30_000]},
    ],
)
def test_schemas_that_are_wrong_leave_themselves_or_cost_too_much_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        graders.validate({"type": "json_schema", "schema": bad})
    assert caught.value.param is not None and caught.value.param.startswith("grader.")


def test_a_property_may_be_named_like_a_keyword() -> None:
    grader = {
        "type": "json_schema",
        "schema": {"properties": {"$ref": {"type": "integer"}}, "required": ["$ref"]},
    }
    graders.validate(grader)
    assert graders.grade(grader, '{"$ref": 1}') == 1.0
    assert graders.grade(grader, '{"$ref": "#/x"}') == 0.0


def test_an_exponential_schema_runs_out_of_budget_and_scores_zero() -> None:
    double = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    grader = {"type": "json_schema", "schema": {"$defs": {**double, "d40": {}}, "$ref": "#/$defs/d0"}}
    graders.validate(grader)
    assert graders.grade(grader, "1") == 0.0
    assert graders.grade({"type": "json_schema", "schema": {"$ref": "#"}}, "1") == 0.0
    assert graders.grade({"type": "json_schema", "schema": {"uniqueItems": True}}, json.dumps([{}] * 2000)) == 0.0


def test_a_slow_pattern_in_a_schema_is_cut_off() -> None:
    grader = {"type": "json_schema", "schema": {"type": "string", "pattern": "(a|aa)+$"}}
    graders.validate(grader)
    assert graders.grade(grader, json.dumps("a" * 5000 + "b")) == 0.0


def test_draft_7_schemas_work() -> None:
    draft7 = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "integer"}, {"type": "string"}],
    }
    grader = {"type": "json_schema", "schema": draft7}
    graders.validate(grader)
    assert graders.grade(grader, '[1, "a"]') == 1.0
    assert graders.grade(grader, '["a", 1]') == 0.0
    assert schema.MAX_STEPS > 0
