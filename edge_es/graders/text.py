"""Graders that compare the answer with a reference text or number."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from edge_es.errors import InputError

MAX_REFERENCE = 10_000  # characters
OPERATIONS = ("eq", "ne", "like", "ilike")
METRICS = ("fuzzy_match", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l", "gleu")

_TEMPLATE = re.compile(r"\{\{\s*(?:item|sample)\b")
_WORD = re.compile(r"\w+")
# Thousands with commas, then plain decimals, then a bare fraction part; exponents of three digits at most, so
# that no number is costly. A sign counts only where it cannot be a minus between operands ("10-5" ends in 5).
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z).])[-+])?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,3}(?![0-9]))?"
)
_LONGEST_NUMBER = 100  # characters; nothing longer is taken for a right answer


def _check_reference(grader: Mapping[str, Any]) -> None:
    reference = grader["reference"]
    if not isinstance(reference, str):
        raise InputError("the grader's reference must be a text", "grader.reference")
    if len(reference) > MAX_REFERENCE:
        raise InputError(
            f"the grader's reference has {len(reference)} characters; at most {MAX_REFERENCE}",
            "grader.reference",
        )
    if _TEMPLATE.search(reference):
        raise InputError(
            "the grader's reference is a template ({{item...}}), which is not filled in here; send the text",
            "grader.reference",
        )


def check_string(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    if grader["operation"] not in OPERATIONS:
        raise InputError(f"a string_check operation is one of {', '.join(OPERATIONS)}", "grader.operation")
    _check_reference(grader)


def string_check(grader: Mapping[str, Any], answer: str) -> float:
    """OpenAI's string_check: `like` and `ilike` ask whether the answer contains the reference."""
    reference: str = grader["reference"]
    operation = grader["operation"]
    if operation == "eq":
        hit = answer == reference
    elif operation == "ne":
        hit = answer != reference
    elif operation == "like":
        hit = reference in answer
    else:
        hit = reference.casefold() in answer.casefold()
    return float(hit)


def check_similarity(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    if grader["evaluation_metric"] not in METRICS:
        raise InputError(
            f"a text_similarity evaluation_metric is one of {', '.join(METRICS)}", "grader.evaluation_metric"
        )
    _check_reference(grader)


def common_subsequence(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit-parallel recurrence on whole numbers."""
    where: dict[Any, int] = {}
    for index, item in enumerate(a):
        where[item] = where.get(item, 0) | (1 << index)
    full = (1 << len(a)) - 1
    open_bits = full
    for item in b:
        matched = open_bits & where.get(item, 0)
        open_bits = ((open_bits + matched) | (open_bits - matched)) & full
    return len(a) - open_bits.bit_count()


def _f1(common: int, a: int, b: int) -> float:
    return 2.0 * common / (a + b) if a + b else 1.0


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _gleu(words: Sequence[str], reference: Sequence[str]) -> float:
    """Google's GLEU: the smaller of precision and recall over n-grams of 1 to 4 words (Wu et al. 2016)."""
    if not words or not reference:
        return float(not words and not reference)
    mine: Counter[tuple[str, ...]] = Counter()
    theirs: Counter[tuple[str, ...]] = Counter()
    for n in range(1, 5):
        mine += _ngrams(words, n)
        theirs += _ngrams(reference, n)
    return (mine & theirs).total() / max(mine.total(), theirs.total())


def similarity(grader: Mapping[str, Any], answer: str) -> float:
    """fuzzy_match: twice the common subsequence over both lengths, in characters (RapidFuzz's `ratio`);
    rouge_n and rouge_l: F1 over lower-cased words (Lin 2004); gleu: see `_gleu`. Two empty texts score 1."""
    metric: str = grader["evaluation_metric"]
    reference: str = grader["reference"]
    if metric == "fuzzy_match":
        return _f1(common_subsequence(reference, answer), len(reference), len(answer))
    words, wanted = _WORD.findall(answer.lower()), _WORD.findall(reference.lower())
    if metric == "gleu":
        return _gleu(words, wanted)
    if metric == "rouge_l":
        return _f1(common_subsequence(wanted, words), len(wanted), len(words))
    mine, theirs = _ngrams(words, int(metric[-1])), _ngrams(wanted, int(metric[-1]))
    if not theirs:  # a reference of fewer words than n has no n-gram to share: only the same words are right
        return float(words == wanted)
    return _f1((mine & theirs).total(), mine.total(), theirs.total())


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def check_numeric(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    if not _is_number(grader["reference"]):
        raise InputError("a numeric grader's reference must be a finite number", "grader.reference")
    tolerance = grader.get("tolerance", 0)
    if not _is_number(tolerance) or tolerance < 0:
        raise InputError("a numeric grader's tolerance must be a finite number, 0 or more", "grader.tolerance")


def numeric(grader: Mapping[str, Any], answer: str) -> float:
    """1 if the last number in the answer is within `tolerance` of the reference; 0.1 is exactly 0.1."""
    numbers = _NUMBER.findall(answer.replace("−", "-"))
    if not numbers or len(numbers[-1]) > _LONGEST_NUMBER:
        return 0.0
    value = Decimal(numbers[-1].replace(",", ""))
    near = abs(value - Decimal(str(grader["reference"]))) <= Decimal(str(grader.get("tolerance", 0)))
    return float(near)
