"""Graders: one contract over all of them. What each of them promises has files of its own."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_es import graders
from edge_es.errors import InputError
from edge_es.graders import text
from edge_es.slices import run

SAMPLES: dict[str, tuple[dict[str, Any], str]] = {  # a grader and an answer that scores 1
    "eq": ({"type": "string_check", "operation": "eq", "reference": "Paris"}, "Paris"),
    "ne": ({"type": "string_check", "operation": "ne", "reference": "Paris"}, "Rome"),
    "like": ({"type": "string_check", "operation": "like", "reference": "Par"}, "in Paris"),
    "ilike": ({"type": "string_check", "operation": "ilike", "reference": "PARIS"}, "in paris"),
    "numeric": ({"type": "numeric", "reference": 1234.5, "tolerance": 0.5}, "It is 1,235 in all."),
    "regex": ({"type": "regex", "pattern": r"(\d+) apples?"}, "3 apples"),
    "regex-search": ({"type": "regex", "pattern": r"APPLE", "search": True, "ignore_case": True}, "3 apples"),
    "json_schema": (
        {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/n"}},
                "$defs": {"n": {"type": "integer"}},
            },
        },
        '{"a": 3}',
    ),
    **{
        metric: (
            {"type": "text_similarity", "evaluation_metric": metric, "reference": "a cat sat"},
            "a cat sat",
        )
        for metric in text.METRICS
    },
}
SAMPLES["countdown"] = ({"type": "countdown", "numbers": [3, 5, 7, 2], "target": 40}, "(3+5) * (7-2) = 40")
everything = pytest.mark.parametrize("name", SAMPLES)
ANSWERS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="0123456789+-*/()., =<>answer{}[]\"':", max_size=300),
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    ).map(json.dumps),
)


@everything
def test_a_right_answer_scores_one_and_the_grader_is_valid(name: str) -> None:
    grader, answer = SAMPLES[name]
    graders.validate(grader)
    graders.validate({**grader, "name": "mine", "input": "{{ sample.output_text }}"})
    assert graders.grade(grader, answer) == 1.0


@everything
@settings(deadline=None, max_examples=40)
@given(answer=ANSWERS)
def test_any_text_scores_between_0_and_1_and_always_the_same(name: str, answer: str) -> None:
    grader, _ = SAMPLES[name]
    score = graders.grade(grader, answer)
    assert isinstance(score, float)
    assert 0.0 <= score <= 1.0
    assert graders.grade(json.loads(json.dumps(grader)), answer) == score


@everything
@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\x00",
        "\ud800",
        "(" * 19_000,
        "[" * 19_000,
        "1" * 19_000,
        "{" * 19_000,
        "a " * 9_000,
        "-" * 19_000,
    ],
)
def test_hostile_answers_score_and_do_not_raise(name: str, answer: str) -> None:
    assert 0.0 <= graders.grade(SAMPLES[name][0], answer) <= 1.0


@everything
def test_an_answer_beyond_the_limit_scores_zero(name: str) -> None:
    grader, answer = SAMPLES[name]
    assert graders.grade(grader, answer + " " * graders.MAX_ANSWER) == 0.0


@everything
def test_fields_that_are_missing_or_unknown_are_named(name: str) -> None:
    grader, _ = SAMPLES[name]
    with pytest.raises(InputError) as caught:
        graders.validate({**grader, "surplus": 1})
    assert caught.value.param == "grader.surplus"
    kind = graders._KINDS[grader["type"]]
    for field in kind.required:
        with pytest.raises(InputError) as caught:
            graders.validate({key: value for key, value in grader.items() if key != field})
        assert caught.value.param == f"grader.{field}"
    for field in (*kind.required, *kind.optional):
        for wrong in (None, [], {"$ref": 3}, float("nan"), object()):
            with pytest.raises(InputError) as caught:
                graders.validate({**grader, field: wrong})
            assert caught.value.param == f"grader.{field}"
            assert "\n" not in str(caught.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@everything
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_validate_raises_input_errors_only_and_what_it_admits_can_be_graded(name: str, data: st.DataObject) -> None:
    grader = dict(SAMPLES[name][0])
    grader[data.draw(st.sampled_from(sorted(grader)))] = data.draw(JSON_VALUES)
    refused = None
    try:
        graders.validate(grader)
    except InputError as error:
        refused = error
    if refused is None:
        assert 0.0 <= graders.grade(grader, data.draw(ANSWERS)) <= 1.0
    else:
        assert str(refused.param).startswith("grader")


@pytest.mark.parametrize("grader", [None, [], "eq", {}, {"type": "python", "source": "1"}, {"type": ["eq"]}])
def test_unknown_graders_are_refused(grader: Any) -> None:
    with pytest.raises(InputError) as caught:
        graders.validate(grader)
    assert caught.value.param in ("grader", "grader.type")


def test_templates_are_refused_rather_than_compared() -> None:
    with pytest.raises(InputError, match="template"):
        graders.validate({"type": "string_check", "operation": "eq", "reference": "{{ item.answer }}"})
    with pytest.raises(InputError, match="input"):
        graders.validate({**SAMPLES["eq"][0], "input": "{{item.question}}"})


def test_grading_goes_in_slices_and_a_grader_that_takes_too_long_tells_nobody_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter(range(10**6))  # a grade takes a second of this clock
    monkeypatch.setattr("edge_es.graders.time.perf_counter", lambda: float(next(now)))
    slow = {"type": "string_check", "operation": "eq", "reference": "a"}
    quick = {"type": "string_check", "operation": "eq", "reference": "b"}
    given = [(slow, "a"), (slow, "c"), (slow, "a"), (quick, "b")]
    slices, parts = graders.graded(given), 0
    while (found := next(slices, "a slice") if parts < 4 else run(slices)) is None:
        parts += 1
    assert found == [0.0, 0.0, 0.0, 1.0] and parts == 4
