"""Graders of texts: string_check, text_similarity, numeric and regex."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es import graders
from edge_es.errors import InputError
from edge_es.graders import text


@pytest.mark.parametrize(
    ("operation", "answer", "score"),
    [
        ("eq", "Paris", 1),
        ("eq", "paris", 0),
        ("eq", " Paris", 0),
        ("ne", "Paris", 0),
        ("ne", "paris", 1),
        ("like", "Is it Paris?", 1),
        ("like", "Is it PARIS?", 0),
        ("ilike", "Is it PARIS?", 1),
        ("ilike", "Is it Par?", 0),
    ],
)
def test_string_check(operation: str, answer: str, score: float) -> None:
    assert graders.grade({"type": "string_check", "operation": operation, "reference": "Paris"}, answer) == score


@pytest.mark.parametrize(
    ("metric", "reference", "answer", "score"),
    [
        ("fuzzy_match", "kitten", "sitting", 2 * 4 / 13),  # "ittn"
        ("fuzzy_match", "abc", "", 0.0),
        ("fuzzy_match", "", "", 1.0),
        ("rouge_1", "the cat sat", "the dog sat", 2 / 3),
        ("rouge_2", "the cat sat", "The cat ran!", 1 / 2),
        ("rouge_5", "the cat", "the cat", 1.0),
        ("rouge_5", "the cat", "a cat", 0.0),
        ("rouge_l", "police killed the gunman", "police kill the gunman", 3 / 4),
        ("rouge_l", "police killed the gunman", "the gunman kill police", 1 / 2),
        ("gleu", "the cat sat on", "the cat sat", 6 / 10),
        ("gleu", "the cat", "", 0.0),
    ],
)
def test_text_similarity(metric: str, reference: str, answer: str, score: float) -> None:
    grader = {"type": "text_similarity", "evaluation_metric": metric, "reference": reference}
    assert graders.grade(grader, answer) == pytest.approx(score)


@given(a=st.text(alphabet="abc", max_size=40), b=st.text(alphabet="abc", max_size=40))
def test_common_subsequence_equals_the_textbook_table(a: str, b: str) -> None:
    row = [0] * (len(b) + 1)
    for x in a:
        left = 0
        for j, y in enumerate(b):
            row[j + 1], left = (left + 1 if x == y else max(row[j], row[j + 1])), row[j + 1]
    assert text.common_subsequence(a, b) == row[-1]


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("42", 1),
        ("The answer is 42.", 1),
        ("7 then 42", 1),
        ("42 then 7", 0),
        ("-42", 0),
        ("50-42", 1),
        ("\\boxed{42}", 1),
        ("4.2e1", 1),
        ("42.05", 1),
        ("42.11", 0),
        ("none", 0),
        ("inf", 0),
        ("1e999", 0),
        ("٤٢", 0),
    ],
)
def test_numeric(answer: str, score: float) -> None:
    assert graders.grade({"type": "numeric", "reference": 42, "tolerance": 0.1}, answer) == score


def test_numeric_is_exact_in_decimals() -> None:
    assert graders.grade({"type": "numeric", "reference": 0.3, "tolerance": 0.1}, "0.4") == 1.0
    assert graders.grade({"type": "numeric", "reference": -1234}, "$-1,234") == 1.0
    assert graders.grade({"type": "numeric", "reference": -1234}, "−1234") == 1.0
    assert graders.grade({"type": "numeric", "reference": 10**20}, "100000000000000000001") == 0.0


def test_regex_matches_all_unless_told_to_search() -> None:
    assert graders.grade({"type": "regex", "pattern": "a+"}, "aaab") == 0.0
    assert graders.grade({"type": "regex", "pattern": "a+", "search": True}, "aaab") == 1.0
    assert graders.grade({"type": "regex", "pattern": "A", "ignore_case": True}, "a") == 1.0
    assert graders.grade({"type": "regex", "pattern": "A"}, "a") == 0.0
    assert graders.grade({"type": "regex", "pattern": r"\{[^{}]*\}"}, '{"a"}') == 1.0


def test_a_pattern_that_backtracks_for_ever_is_cut_off_and_scores_zero() -> None:
    grader = {"type": "regex", "pattern": "(a|aa)+$", "search": True}
    graders.validate(grader)
    assert graders.grade(grader, "a" * 5000 + "b") == 0.0


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a" * 501,
        "(?:(?:a{1000}){1000}){1000}",
        "(?:a{0,100}){100}",
        "(?:abc){e<=3}",
        "(?R)",
        r"\p{L}",
        "(?e)a",
        "*",
    ],
)
def test_patterns_that_are_wrong_or_would_blow_up_are_refused(pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        graders.validate({"type": "regex", "pattern": pattern})
    assert caught.value.param == "grader.pattern"
