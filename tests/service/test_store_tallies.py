"""What is kept beside the events agrees with them, and what is asked at every look reads no history."""

import random
from collections import Counter

import pytest
from stored import event, step

from edge_es.feedback import Drawn, Event
from edge_es.ledger import anchor_row
from edge_es.probes.verdicts import SuiteResult
from service.event_table import NEWEST, OLDER
from service.store import Store


def rating(name: str, value: float, member: Drawn | None = None) -> Event:
    return Event(name, "rating", event().exchanges, metric=f"m{len(name) % 2}", value=value, member=member)


def agrees(store: Store, used: set[str]) -> None:
    """Counts and means, from scratch. used: by a published step, since they were last let wait."""
    fates: Counter[str] = Counter()
    rows = store.query("SELECT id, withheld, state FROM events")
    for row in rows:
        fates[row["withheld"] or ("used" if row["state"] == "pending" and row["id"] in used else row["state"])] += 1
    assert {fate: n for fate, n in store.count_events().items() if n} == fates
    means = store.query(
        """SELECT json_extract(event, '$.metric') AS metric, avg(json_extract(event, '$.value')) AS mean
           FROM events WHERE kind = 'rating' AND state = 'pending' AND dropped IS NULL GROUP BY 1"""
    )
    assert store.metric_means() == pytest.approx({row["metric"]: row["mean"] for row in means})


def test_tallies_agree_with_the_events_whatever_happens_to_them(store: Store) -> None:
    rng, ids, used, attempt = random.Random(0), list[str](), set[str](), 0
    store.append(anchor_row(), {})
    for number in range(400):
        some = rng.sample(ids, min(len(ids), 3))
        match rng.randrange(8):
            case 0 | 1 | 2:
                one = f"e{number}"
                new = rating(one, rng.uniform(-1, 1)) if rng.random() < 0.6 else event(one)
                store.add_event(new, {"value": number}, held_out=rng.random() < 0.2, review=rng.random() < 0.3)
                ids.append(one)
            case 3:
                attempt += 1
                version = (store.newest_version() or 0) + 1 if rng.random() < 0.5 else None
                waiting = [one.id for one, _ in store.next_batch(3, number, 64, lambda one: 1.0)]
                store.append(step(attempt, version, tuple(waiting)), {})
                used |= set(waiting) if version is not None else set()
            case 4:
                store.set_aside(some, "for a test")
            case 5:
                gone = {one.id for one in store.list_events("set_aside", limit=1000) if one.body is not None}
                store.retry(some)
                used -= gone & set(some)
            case 6:
                held = store.in_review()[:2]
                store.approve(held, lambda one: rng.random() < 0.5)
            case 7 if rng.random() < 0.3:
                store.drop_bodies(keep=20, max_uses=3, window=2, limit=5)
        if number % 20 == 0:
            agrees(store, used)
    agrees(store, used)
    assert attempt and store.count_events()["used"] and store.count_events()["set_aside"]
    assert len({row["held"] for row in store.query("SELECT held FROM events WHERE held IS NOT NULL")}) > 5


def test_what_is_asked_at_every_look_reads_by_an_index(store: Store) -> None:
    asked: list[str] = []
    query = store.query
    store.query = lambda sql, *values: (asked.append(sql), query(sql, *values))[1]  # type: ignore[method-assign]
    for number in range(20):
        store.add_event(event(f"e{number}"), {"value": number}, held_out=number % 2 == 0)
    asked.clear()
    store.may_learn(64, 16)
    store.next_batch(4, 0, 64, lambda one: 1.0)
    store.metric_means()
    store.count_events()
    store.release(None)
    store.count_rated("f")
    store.held_out(5, 2)
    store.newest_results()
    assert len(asked) > 8
    for sql in asked:
        plan = [row["detail"] for row in query(f"EXPLAIN QUERY PLAN {sql}", *[1] * sql.count("?"))]
        whole = [step for step in plan if step.startswith("SCAN") and "INDEX" not in step and "events" in step]
        assert not whole, (sql, plan)


def test_learning_begins_with_so_many_and_goes_on_until_they_are_used_up(store: Store) -> None:
    store.append(anchor_row(), {})
    assert not store.may_learn(2, 3)
    for number in range(3):
        assert not store.may_learn(2, 3)
        store.add_event(event(f"e{number}"), {"value": number}, held_out=False)
    assert store.may_learn(2, 3) and not store.may_learn(2, 4)
    store.append(step(1, 1, ("e0",)), {})
    assert store.may_learn(2, 4), "one of them can serve once more"
    assert not store.may_learn(1, 4)


def test_of_a_long_history_the_newest_and_a_sample_of_the_rest_are_drawn_from(store: Store) -> None:
    store.append(anchor_row(), {})
    count = NEWEST + 3 * OLDER
    with store.transaction():
        for number in range(count):
            store.add_event(event(f"e{number}"), {"value": number}, held_out=False)
        store.append(step(1, 1, tuple(f"e{number}" for number in range(count))), {})
    looked: list[str] = []

    def draw(seed: int) -> list[int]:
        looked.clear()
        batch = store.next_batch(32, seed, 64, lambda one: looked.append(one) or 1.0)  # type: ignore[func-returns-value]
        return [int(one.id[1:]) for one, _ in batch]

    assert draw(1) == draw(1) != draw(2)
    assert len(looked) == NEWEST + OLDER and len(set(looked)) == len(looked)
    assert {f"e{number}" for number in range(3 * OLDER, count)} <= set(looked)
    old = sum(number < 3 * OLDER for seed in range(40) for number in draw(seed))
    assert 0.7 < old / (40 * 32) < 0.8, "an older one is drawn as often as a newer one: three of four are older"


def test_a_flood_of_one_source_hides_no_other(store: Store) -> None:
    for number in range(60):
        tags = {"source": "loud"} if number < 50 else {"source": f"s{number % 2}"} if number < 58 else {}
        store.add_event(Event(f"e{number}", "demonstration", event().exchanges, tags=tags), {"v": number}, False)
    fresh = store._fresh(3)
    assert [row["seq"] for row in fresh] == [1, 2, 3, 51, 52, 53, 54, 55, 56, 59, 60]
    assert {row["source"] for row in fresh} == {"loud", "s0", "s1", None}


def test_what_becomes_held_out_later_stands_behind_what_was_before(store: Store) -> None:
    """Scores of two versions are compared place by place: an approval of an older event must not come in between."""
    store.add_event(event("early"), {"value": 1}, held_out=True, review=True)
    for number in range(3):
        store.add_event(event(f"e{number}"), {"value": number}, held_out=True)
    store.approve(["early"], lambda one: True)
    assert [one.id for one in store.held_out()] == ["e0", "e1", "e2", "early"]
    assert [one.id for one in store.held_out(skip=2)] == ["e2", "early"]
    store.set_aside(["e1"], "too long", "held_out")
    assert [one.id for one in store.held_out()] == ["e0", "e2", "early"]
    assert store.retry(["e1"]) == 1
    assert [one.id for one in store.held_out()] == ["e0", "e2", "early", "e1"], "as the newest"
    assert store.next_batch(9, 0, 9, lambda one: 1.0) == []


def test_a_lesson_whose_twin_can_never_be_tried_again_is_no_duplicate(store: Store) -> None:
    def add(one: str) -> str:
        store.add_event(event(one), {"value": one}, held_out=False, content="same")
        fate = store.event_fate(one)
        assert fate is not None
        return fate.state

    assert (add("a"), add("b")) == ("pending", "duplicate")
    store.set_aside(["a"], "rolled back")
    assert add("c") == "duplicate", "the first can still be tried again"
    assert store.drop_bodies(keep=0, max_uses=9, window=0, limit=9)
    assert (add("d"), add("e")) == ("pending", "duplicate")


def test_the_newest_result_of_each_suite(store: Store) -> None:
    def result(version: int, suite: str, kind: str) -> SuiteResult:
        return SuiteResult(version, suite, kind, 2, 0.5, 1.0, version / 10, 0.4, 0.6, "kept", "t")  # type: ignore[arg-type]

    assert store.newest_results() == []
    for version in range(4):
        some = [result(version, suite, kind) for suite in ("a", "b", "c") for kind in ("choice", "loglik")]
        store.save_probe(version, "t", some[: 6 - version], {})
    found = [(row["suite"], row["version"], row["kind"]) for row in store.newest_results()]
    assert found == [
        *(("a", 3, kind) for kind in ("choice", "loglik")),
        ("b", 3, "choice"),
        *(("c", 1, kind) for kind in ("choice",)),
    ]
