"""Events in the store: what waits is handed out, what was used says by which version, and nothing is half-stored."""

from dataclasses import replace

from stored import event, step

from edge_es.feedback import Drawn, Event, Exchange, Prompt
from edge_es.ledger import anchor_row
from service.store import Store


def test_an_event_waits_until_it_is_used_and_its_fate_tells_by_which_version(store: Store) -> None:
    one, two = event(), event()
    store.append(anchor_row(), {})
    for e in (one, two):
        assert store.add_event(e, {"value": "4", "id": e.id}, held_out=False)
    assert [e.id for e, _ in store.pending(10, max_uses=5)] == [one.id, two.id]
    store.append(step(1, None, (one.id,)), {})  # rejected
    store.append(step(2, 1, (one.id,)), {})
    assert [(e.id, uses) for e, uses in store.pending(10, max_uses=5)] == [(two.id, 0), (one.id, 2)]
    assert [e.id for e, _ in store.pending(10, max_uses=2)] == [two.id]
    assert (store.count_waiting(5), store.count_usable(5), store.count_usable(2)) == (1, 2, 1)
    fate = store.event_fate(one.id)
    assert fate is not None
    assert (fate.state, fate.used_in) == ("used", (1,))
    assert fate.as_json()["feedback"] == {"value": "4"}
    other = store.event_fate(two.id)
    assert other is not None
    assert (other.state, other.used_in) == ("pending", ())
    assert store.events_between(1, 1) == [one.id]
    assert store.next_batch(5, 0, 64, lambda one: 1.0) == [(two, 0), (one, 2)]
    assert {s: n for s, n in store.count_events().items() if n} == {"pending": 1, "used": 1}


def test_ratings_of_members_wait_for_their_step_and_serve_one_alone(store: Store) -> None:
    store.append(anchor_row(), {})
    members = [Drawn(0, -2, pair, sign, 0.1, "basis") for pair in (0, 1) for sign in (1, -1)]
    other = replace(members[0], basis="other")
    said = (Exchange(Prompt.user("2 + 2?"), "4"),)
    for number, member in enumerate([*members, members[0], other]):
        rating = Event(f"r{number}", "rating", said, metric="thumbs", value=1.0, member=member)
        assert store.add_event(rating, {"value": number}, held_out=number == 3)
    assert (store.count_usable(9), store.count_waiting(9), store.pending(9, 9)) == (0, 0, [])
    own = members[0].family
    assert store.count_rated(own) == 3, "one is held out, one is rated twice"
    rated = store.rated(own, 9)
    assert [event.id for event in rated] == ["r0", "r1", "r2", "r4"] and rated[1].member == members[1]
    store.append(step(1, 1, ("r0", "r4")), {})
    assert [event.id for event in store.rated(own, 9)] == ["r1", "r2"], "each is told once"
    assert store.release(own) == 1 and store.release(own) == 0
    assert [event.id for event, _ in store.pending(9, 9)] == ["r5"]
    assert [event.id for event, _ in store.next_batch(9, 0, 9, lambda one: 1.0)] == ["r5"]
    assert store.release(None) == 2
    assert [event.id for event, _ in store.pending(9, 9)] == ["r1", "r2", "r5"]


def test_an_event_used_by_a_rejected_attempt_alone_is_still_pending(store: Store) -> None:
    one = event()
    store.append(anchor_row(), {})
    store.add_event(one, {}, held_out=False)
    store.append(step(1, None, (one.id,)), {})
    fate = store.event_fate(one.id)
    assert fate is not None and fate.state == "pending" and fate.used_in == ()


def test_held_out_events_and_comments_are_never_handed_to_the_learner(store: Store) -> None:
    kept, remark = event(), event(kind="comment")
    store.add_event(kept, {}, held_out=True)
    store.add_event(remark, {}, held_out=True)
    assert store.pending(10, 5) == []
    assert store.held_out() == [kept]
    assert {s: n for s, n in store.count_events().items() if n} == {"held_out": 1, "kept": 1}


def test_set_aside_events_are_listed_with_their_reason_and_retry_makes_them_fresh(store: Store) -> None:
    one = event()
    store.append(anchor_row(), {})
    store.add_event(one, {}, held_out=False)
    store.append(step(1, 1, (one.id,)), {})
    assert store.set_aside([one.id], "capitals dropped at version 1") == 1
    assert store.pending(10, 5) == [] and store.next_batch(5, 0, 64, lambda one: 1.0) == []
    (fate,) = store.list_events("set_aside")
    assert (fate.id, fate.reason, fate.used_in) == (one.id, "capitals dropped at version 1", (1,))
    assert store.retry([one.id]) == 1
    assert store.pending(10, 5) == [(one, 0)]


def test_listing_pages_through_events_oldest_first(store: Store) -> None:
    ids = []
    for _ in range(5):
        ids.append(event().id)
        store.add_event(event(ids[-1]), {}, held_out=False)
    assert [f.id for f in store.list_events(limit=2)] == ids[:2]
    assert [f.id for f in store.list_events(after=ids[1], limit=2)] == ids[2:4]


def test_the_reservoir_is_drawn_by_its_seed(store: Store) -> None:
    store.append(anchor_row(), {})
    ids = tuple(event().id for _ in range(20))
    for e in ids:
        store.add_event(event(e), {}, held_out=False)
    store.append(step(1, 1, ids), {})
    draws = [[e.id for e, _ in store.next_batch(8, seed, 64, lambda one: 1.0)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert all(draw == sorted(draw, key=ids.index) for draw in draws)
