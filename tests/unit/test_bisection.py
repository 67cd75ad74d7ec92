"""The search for the first bad version, without a model: which is named, in how many looks, and what is on the line."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.bisection import first_bad, stretches
from edge_es.errors import StateError
from edge_es.ledger import Kind, Row, line
from edge_es.slices import Slices, run


def judged(row: Sequence[bool]) -> tuple[int, list[int]]:
    """The index that is named among these (True: bad), and those looked at."""
    looks: list[int] = []

    def bad(index: int) -> Slices[bool]:
        looks.append(index)
        yield
        return row[index]

    return run(first_bad(len(row), bad)), looks


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_the_guilty_one_is_named_in_few_looks(case: tuple[int, int]) -> None:
    count, guilty = case
    named, looks = judged([index >= guilty for index in range(count)])
    assert named == guilty
    assert len(looks) <= math.ceil(math.log2(count)) + 1
    assert len(set(looks)) == len(looks) and count - 1 not in looks  # nothing twice, and not what is known
    assert not guilty or guilty - 1 in looks, "what is gone back to was looked at, unless it is the last good one"


@given(st.lists(st.booleans(), max_size=60))
def test_where_good_and_bad_alternate_a_bad_one_behind_a_good_one_is_named(some: list[bool]) -> None:
    row = [*some, True]
    named, looks = judged(row)
    assert row[named]
    assert not named or (not row[named - 1] and named - 1 in looks)


def test_every_look_goes_in_slices() -> None:
    def bad(index: int) -> Slices[bool]:
        yield
        yield
        return index >= 3

    assert sum(1 for _ in first_bad(8, bad)) == 2 * 3


def row(version: int, kind: Kind = "step", delta: str | None = None, target: int | None = None) -> Row:
    parent = version - 1 if version else None
    return Row(version, version, parent, kind, "", sha256=delta or f"delta {version}", target=target)


ROWS = [
    row(0, "anchor"),
    row(1, "basis"),
    row(2),
    row(3),
    row(4, "rollback", "delta 2", target=2),
    row(5, "basis"),
    row(6),
    row(7, "consolidate"),
    row(8, delta="delta 7"),  # a step of nothing
    row(9),
    row(10, "rollback", "delta 7", target=8),
    row(11),
]


def versions(rows: Sequence[Row]) -> list[int | None]:
    return [one.version for one in rows]


def test_what_a_rollback_took_back_is_not_on_the_line() -> None:
    assert versions(line(ROWS, 11, 0)) == [1, 2, 4, 5, 6, 7, 8, 10, 11]
    assert versions(line(ROWS, 11, 4)) == [5, 6, 7, 8, 10, 11]
    assert versions(line(ROWS, 9, 8)) == [9]
    assert line(ROWS, 11, 11) == []
    for since in (3, 9):
        with pytest.raises(StateError, match=f"version {since} is not on the line of version 11"):
            line(ROWS, 11, since)


def test_what_was_taken_back_and_taken_up_again_is_on_the_line() -> None:
    rows = [*ROWS[:4], row(4, "rollback", "delta 0", target=0), row(5, "rollback", "delta 3", target=3), row(6)]
    assert versions(line(rows, 6, 0)) == [1, 2, 3, 5, 6]


def test_what_answers_as_its_predecessor_needs_no_look_of_its_own() -> None:
    found = stretches(ROWS[0], line(ROWS, 11, 0))
    assert [versions(one.rows) for one in found] == [[2, 4, 5], [6], [7, 8, 10], [11]]
    assert [(one.first, one.last) for one in found] == [(2, 5), (6, 6), (7, 10), (11, 11)]
    assert stretches(ROWS[0], line(ROWS, 1, 0)) == []
    assert [one.first for one in stretches(ROWS[4], line(ROWS, 11, 4))] == [6, 7, 11]
