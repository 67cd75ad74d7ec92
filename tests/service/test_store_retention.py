"""What goes with time: texts of events that nothing is learned from any more, old answers; never what is needed."""

import json
import uuid
from pathlib import Path

import pytest
from echo_daemon import Daemon, use
from stored import event, step

from edge_es.feedback import Drawn, Event, Prompt
from edge_es.ledger import anchor_row
from service.resolve import is_held_out
from service.row_text import decode, encode
from service.store import Answer, Conflict, Store, StoredCompletion


def fill(store: Store) -> None:
    """Ten events: used up, set aside, held out, used once, a comment, and what waits."""
    store.append(anchor_row(), {})
    for number in range(10):
        kind = "comment" if number == 5 else "demonstration"
        store.add_event(event(f"e{number}", kind), {"value": number}, held_out=number in (2, 3))
    store.append(step(1, 1, ("e0", "e1")), {})
    store.append(step(2, 2, ("e0", "e4")), {})
    store.set_aside(["e1"], "for a test")


def dropped(store: Store) -> list[str]:
    return [fate.id for fate in store.list_events(limit=1000) if fate.body is None]


def test_only_what_is_spent_and_old_is_dropped(store: Store) -> None:
    fill(store)
    assert store.drop_bodies(keep=10, max_uses=2, window=0, limit=99) == 0
    assert store.drop_bodies(keep=9, max_uses=2, window=0, limit=99) == 1 and dropped(store) == ["e0"]
    assert store.drop_bodies(keep=0, max_uses=2, window=0, limit=99) == 1, "held out, used once, comments, waiting"
    assert dropped(store) == ["e0", "e1"]
    assert store.drop_bodies(keep=0, max_uses=2, window=1, limit=99) == 1, "the oldest held-out one is not looked at"
    assert dropped(store) == ["e0", "e1", "e2"] and [one.id for one in store.held_out(9, skip=1)] == ["e3"]
    assert store.drop_bodies(keep=0, max_uses=1, window=1, limit=99) == 1 and "e4" in dropped(store)
    assert [one.id for one, _ in store.pending(99, 99)] == ["e6", "e7", "e8", "e9"]


def test_a_dropped_event_keeps_its_id_its_fate_and_its_uses(store: Store) -> None:
    fill(store)
    store.drop_bodies(keep=0, max_uses=2, window=0, limit=99)
    fate = store.event_fate("e0")
    assert fate is not None and (fate.state, fate.used_in, fate.body) == ("used", (1, 2), None)
    assert store.events_between(1, 2) == ["e0", "e1", "e4"] and store.rows()[1].events == ("e0", "e1")
    assert not store.add_event(event("e0"), {"value": 0}, held_out=False), "a repeat is still known"
    with pytest.raises(Conflict):
        store.add_event(event("e0"), {"value": "another"}, held_out=False)
    assert store.retry(["e1"]) == 0 and store.events(["e0", "e4"]) == [event("e4")]
    assert store.count_events()["used"] == 2
    usable = [one.id for one, _ in store.next_batch(99, 0, 99, lambda one: 1.0)]
    assert sorted(usable) == ["e4", "e6", "e7", "e8", "e9"], "more uses bring nothing back"
    assert store.count_usable(99) == 5


def test_ratings_of_members_are_spent_after_their_one_step(store: Store) -> None:
    store.append(anchor_row(), {})
    for number in range(2):
        member = Drawn(0, -2, number, 1, 0.1, "basis")
        said = Event(f"r{number}", "rating", event().exchanges, metric="thumbs", value=float(number), member=member)
        store.add_event(said, {"value": number}, held_out=False)
    store.append(step(1, 1, ("r0",)), {})
    assert store.drop_bodies(keep=0, max_uses=64, window=0, limit=9) == 1 and dropped(store) == ["r0"]
    assert store.metric_means() == {"thumbs": 1.0}


def test_dropping_goes_on_in_parts(store: Store) -> None:
    fill(store)
    assert [store.drop_bodies(0, 1, 1, limit=3) for _ in range(3)] == [3, 1, 0]


def test_old_answers_are_forgotten_and_the_newest_can_be_named(store: Store) -> None:
    for number in range(6):
        store.add_completion(StoredCompletion(f"c{number}", 0, "chat", Prompt.user("?"), (Answer("4", "stop"),), 1, 1))
    assert [store.forget_completions(2, limit=3) for _ in range(3)] == [3, 1, 0]
    assert [store.completion(f"c{number}") is not None for number in range(6)] == [False] * 4 + [True] * 2
    assert store.newest_completion() == 6


def test_over_http_a_dropped_event_says_so_and_is_not_tried_again(daemon: Daemon) -> None:
    sent = {"input": {"prompt": "q"}, "metric_name": "demonstration", "value": "a"}
    ids = (str(uuid.UUID(int=number, version=4)) for number in range(99))
    one = next(event for event in ids if not is_held_out(event, daemon.context.config.learn.holdout))
    daemon.client.post("/v1/feedback", json={**sent, "id": one}).raise_for_status()
    use(daemon.store, [one])
    daemon.store.set_aside([one], "for a test")
    assert daemon.store.drop_bodies(0, 64, 0, 9) == 1
    told = daemon.client.get(f"/v1/feedback/{one}").json()
    assert (told["state"], told["feedback"], told["used_in"]) == ("set_aside", None, [1])
    answer = daemon.client.post(f"/v1/feedback/{one}/retry")
    assert answer.status_code == 409 and "state.keep_events" in answer.json()["error"]["message"]
    assert daemon.client.post("/v1/feedback", json={**sent, "id": one}).json() == {"feedback_id": one}


def test_a_row_reads_back_as_it_was_and_takes_little_room(store: Store) -> None:
    shaped = tuple((0.1 * number - 1.7).hex() for number in range(32))
    stats = {"solved": [number / 7 for number in range(32)], "step_norm": 0.123456789, "kl": None}
    for row in (
        anchor_row(),
        step(1, None, ("e",), reason="ties"),
        step(2, 7, shaped=shaped, pairs=(3, 1), guards={"decay": (0.5).hex()}, stats=stats, side="ab" * 32),
        step(3, 8, shaped=("0x1.8p+0",)),
        step(4, 9, shaped=shaped).stripped(),
    ):
        assert decode(*encode(row)) == row
        assert decode(json.dumps(row.as_json()), None) == row, "as earlier releases wrote it"
        assert sum(map(len, encode(row))) < 1024
    with pytest.raises(ValueError):
        encode(step(1, 1, stats={"kl": float("nan")}))


def test_a_snapshot_needs_its_version_and_outlives_a_restart(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.append(anchor_row(), {})
        with pytest.raises(Exception, match="FOREIGN KEY"):
            store.save_snapshot(1, b"delta")
        store.append(step(1, 1), {})
        store.save_snapshot(1, b"delta")
    with Store(tmp_path) as store:
        ((version, name),) = store.snapshots().items()
        assert version == 1 and store.blob(name) == b"delta"
        store.compact([], [1])
        assert store.snapshots() == {} and list((tmp_path / "blobs").iterdir()) == []
