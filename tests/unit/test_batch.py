"""Which events a step learns from, and how long the step is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es import batch, consensus

SHARES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=12)


@given(st.lists(st.floats(0.1, 1)), st.integers(0, 5))
def test_a_draw_is_of_all_without_replacement_and_pure(chances: list[float], seed: int) -> None:
    drawn = batch.order(chances, random.Random(seed))
    assert sorted(drawn) == list(range(len(chances)))
    assert drawn == batch.order(chances, random.Random(seed))


def test_what_is_solved_is_drawn_less_but_is_drawn() -> None:
    chances = [batch.chance(1.0)] * 50 + [batch.chance(0.0)] * 50
    rng = random.Random(0)
    times = [0] * 100
    for _ in range(4000):
        for i in batch.order(chances, rng)[:5]:
            times[i] += 1
    assert min(times) > 0
    assert sum(times[:50]) / sum(times[50:]) == pytest.approx(batch.LEAST_CHANCE, rel=0.1)


@given(st.floats(0, 1), st.integers(0, 100))
def test_what_is_doubted_is_drawn_less_with_every_look(solved: float, doubts: int) -> None:
    assert batch.LEAST_CHANCE <= batch.chance(solved, doubts + 1) <= batch.chance(solved, doubts) <= 1.0
    assert batch.chance(0.0) == batch.chance(0.0, 1) == 1.0 and batch.chance(0.0, 4) == 0.25


SOURCES = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40)


@given(SOURCES, st.integers(1, 20), st.sampled_from([0.1, 0.5, 0.8, 1.0]))
def test_no_source_has_more_than_its_share_while_others_have_any_left(
    sources: list[str | None], count: int, share: float
) -> None:
    chosen = batch.capped(sources, count, share)
    assert len(set(chosen)) == len(chosen) == min(count, len(sources)) and chosen == sorted(chosen)
    most = max(1, int(share * count))
    for source in set(sources):
        own = [i for i in chosen if sources[i] == source]
        left = [i for i, other in enumerate(sources) if other != source and i not in chosen]
        below = [i for i in left if sum(sources[j] == sources[i] for j in chosen) < most]
        assert len(own) <= most or not below
        assert own == [i for i, other in enumerate(sources) if other == source][: len(own)], "the first ones"


def test_a_single_source_has_the_whole_batch() -> None:
    assert batch.capped(["a"] * 10, 4, 0.5) == [0, 1, 2, 3]
    assert batch.capped([*["a"] * 10, "b"], 4, 0.5) == [0, 1, 2, 10]
    assert batch.capped([*["a"] * 10, *["b"] * 9], 4, 0.5) == [0, 1, 10, 11]


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


def test_what_was_looked_at_longest_ago_is_forgotten_first() -> None:
    solved: dict[str, float] = {}
    standing: dict[str, consensus.Standing] = {}
    for one in range(batch.KNOWN + 10):
        batch.look(solved, [str(one), "again"], [0.5, 1.0])
        consensus.look(standing, [str(one), "again"], [0.1, 0.2])
    for known in (solved, standing):
        assert len(known) == batch.KNOWN and "again" in known and str(batch.KNOWN + 9) in known
        assert "10" not in known and "11" in known
