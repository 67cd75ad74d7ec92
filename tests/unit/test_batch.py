"""Which events a step learns from, and how long the step is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es import batch

SHARES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=12)


@given(SHARES, st.integers(0, 20), st.integers(0, 5))
def test_a_draw_is_without_replacement_and_pure(solved: dict[str, float], count: int, seed: int) -> None:
    ids = [*solved, "new"]
    drawn = batch.order(ids, solved, random.Random(seed))[:count]
    assert len(drawn) == len(set(drawn)) == min(count, len(ids))
    assert drawn == batch.order(ids, solved, random.Random(seed))[:count]


def test_what_is_solved_is_drawn_less_but_is_drawn() -> None:
    ids = [str(i) for i in range(100)]
    solved = dict.fromkeys(ids[:50], 1.0)
    rng = random.Random(0)
    times = [0] * 100
    for _ in range(4000):
        for i in batch.order(ids, solved, rng)[:5]:
            times[i] += 1
    assert min(times) > 0
    assert sum(times[:50]) / sum(times[50:]) == pytest.approx(batch.LEAST_CHANCE, rel=0.1)


@given(SHARES)
def test_steps_are_whole_while_nothing_is_solved_and_never_vanish(solved: dict[str, float]) -> None:
    assert batch.LEAST_REACH <= batch.reach(solved) <= 1.0
    assert batch.reach({}) == 1.0
    assert batch.reach({"a": 1.0, "b": 1.0}) == pytest.approx(batch.LEAST_REACH)
    more = {one: min(1.0, share + 0.1) for one, share in solved.items()}
    assert batch.reach(more) <= batch.reach(solved) + 1e-12


def test_what_was_learned_long_ago_does_not_shorten_steps() -> None:
    old = {f"old-{i}": 1.0 for i in range(1000)}
    assert batch.reach(old) == pytest.approx(batch.LEAST_REACH)
    new = [f"new-{i}" for i in range(batch.WINDOW)]
    assert batch.reach(batch.after(old, new, [0.0] * len(new))) == 1.0
    again = batch.after(batch.after(old, new, [0.0] * len(new)), list(old), [1.0] * len(old))
    assert batch.reach(again) == pytest.approx(batch.LEAST_REACH), "the order is that of the last look"


def test_another_look_moves_what_is_known_half_way() -> None:
    known = batch.after({}, ["a", "b"], [1.0, None])
    assert known == {"a": 1.0}
    assert batch.after(known, ["a", "c"], [0.0, 0.5]) == {"a": 0.5, "c": 0.5} and known == {"a": 1.0}
