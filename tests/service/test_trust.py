"""Feedback that waits for a review, duplicates, and who gets into a batch."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from echo_daemon import Daemon, refused, served, use
from typer.testing import CliRunner

from edge_es.feedback import Event, Exchange, Prompt
from service.cli.main import app
from service.resolve import is_held_out
from service.store import Store

ASK = {"messages": [{"role": "user", "content": "2 + 2?"}]}
GRADED = {"input": ASK, "grader": {"type": "string_check", "operation": "eq", "reference": "4"}}
REVIEWED: dict[str, Any] = {"feedback": {"review": True}, "learn": {"holdout": 0.5}}


def shown(value: str, **more: Any) -> dict[str, Any]:
    return {"input": ASK, "metric_name": "demonstration", "value": value, **more}


def send(daemon: Daemon, body: dict[str, Any]) -> str:
    path = "/v1/tasks" if "grader" in body else "/v1/feedback"
    answer = daemon.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["feedback_id"]
    return found


def fate(daemon: Daemon, event_id: str) -> tuple[str, str | None]:
    row = daemon.client.get(f"/v1/feedback/{event_id}").json()
    return row["state"], row["reason"]


def waiting(store: Store) -> list[str]:
    return [event.id for event, _ in store.pending(1000, 64)]


def cli(*arguments: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, ["feedback", *arguments])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


# review


def test_what_is_held_is_learned_from_once_it_is_approved_and_never_once_rejected(tmp_path: Path) -> None:
    with served(tmp_path, **REVIEWED) as daemon:
        own = [str(uuid.UUID(int=number << 64, version=4)) for number in range(8)]  # some are held out, some are not
        ids = [send(daemon, shown(one, id=one)) for one in own] + [send(daemon, GRADED)]
        assert {fate(daemon, one) for one in ids} == {("review", None)}
        assert waiting(daemon.store) == [] and daemon.store.held_out() == []
        assert daemon.store.next_batch(9, 0, 64, lambda one: 1.0) == [] and daemon.store.count_usable(64) == 0
        assert daemon.client.get("/v1/status").json()["events"]["review"] == 9
        woken = daemon.engine.woken
        assert daemon.client.post("/v1/feedback/approve", json={"ids": ids[:6]}).json() == {"approved": ids[:6]}
        assert daemon.engine.woken == woken + 1
        assert (
            daemon.client.post(f"/v1/feedback/{ids[6]}/reject", json={"reason": "a lie"}).json()["state"] == "rejected"
        )
    with served(tmp_path, **REVIEWED) as daemon:  # over a restart
        states = {one: fate(daemon, one) for one in ids}
        for one in ids[:6]:
            assert states[one] == ("held_out" if is_held_out(one, 0.5) else "pending", None)
        assert waiting(daemon.store) == [one for one in ids[:6] if not is_held_out(one, 0.5)]
        assert [event.id for event in daemon.store.held_out()] == [one for one in ids[:6] if is_held_out(one, 0.5)]
        assert 0 < len(waiting(daemon.store)) < 6
        assert states[ids[6]] == ("rejected", "a lie") and states[ids[7]] == ("review", None)
        listed = daemon.client.get("/v1/feedback", params={"state": "rejected"}).json()["feedback"]
        assert [row["id"] for row in listed] == [ids[6]]
        # Who thinks better of it may still approve by id.
        assert daemon.client.post(f"/v1/feedback/{ids[6]}/approve").json()["state"] in ("pending", "held_out")
        assert daemon.client.post("/v1/feedback/reject", json={"all": True}).json() == {"rejected": ids[7:]}
        assert daemon.client.post("/v1/feedback/approve", json={"all": True}).json() == {"approved": []}
        assert fate(daemon, ids[8]) == ("rejected", "rejected in a review")


def test_a_verdict_on_many_is_whole_or_not_at_all(serving: Any) -> None:
    daemon = serving(**REVIEWED)
    ids = [send(daemon, shown(str(number))) for number in range(2)]
    stranger = str(uuid.uuid4())
    error = refused(daemon.client.post("/v1/feedback/approve", json={"ids": [ids[0], stranger]}), 404, "ids")
    assert stranger in error["message"]
    daemon.client.post("/v1/feedback/approve", json={"ids": [ids[1].upper(), ids[1]]})
    for verdict in ("approve", "reject"):
        error = refused(
            daemon.client.post(f"/v1/feedback/{verdict}", json={"ids": [ids[0], ids[1]]}), 409, "ids", "not_in_review"
        )
        assert ids[1] in error["message"]
        refused(daemon.client.post(f"/v1/feedback/{stranger}/{verdict}"), 404, "id")
        for body in ({}, {"ids": []}, {"ids": ids, "all": True}, {"all": False}, {"ids": ["x"]}):
            refused(daemon.client.post(f"/v1/feedback/{verdict}", json=body), 422)
        assert daemon.stranger.post(f"/v1/feedback/{verdict}", json={"all": True}).status_code == 401
        assert daemon.stranger.post(f"/v1/feedback/{ids[0]}/{verdict}").status_code == 401
    assert fate(daemon, ids[0]) == ("review", None)


def test_comments_and_what_came_before_wait_for_nobody(tmp_path: Path) -> None:
    with served(tmp_path, learn={"holdout": 0}) as daemon:
        before = send(daemon, shown("4"))
    with served(tmp_path, **REVIEWED) as daemon:
        asked = daemon.client.post("/v1/chat/completions", json={"model": "pocket", **ASK}).json()["id"]
        remark = send(daemon, {"inference_id": asked, "metric_name": "comment", "value": "nice"})
        assert (fate(daemon, before)[0], fate(daemon, remark)[0]) == ("pending", "kept")
        refused(daemon.client.post(f"/v1/feedback/{before}/approve"), 409)


def test_the_command_lists_and_judges(serving: Any, tmp_path: Path) -> None:
    daemon = serving(**REVIEWED)
    ids = [send(daemon, shown(f"answer {number}", tags={"source": "web"})) for number in range(4)] + [
        send(daemon, GRADED)
    ]
    where = ["--url", daemon.url, "--state-dir", str(daemon.store.folder)]
    assert [row["id"] for row in cli("review", *where, "--json")["feedback"]] == ids
    table = cli("review", *where)
    assert all(word in table for word in (*ids, "web", "2 + 2?", "answer 3", "string_check"))
    assert cli("approve", ids[0], ids[1], *where) == "2 approved\n"
    assert cli("reject", ids[2], "--reason", "no", *where, "--json") == {"rejected": [ids[2]]}
    assert fate(daemon, ids[2]) == ("rejected", "no")
    assert ids[0] in cli("approve", ids[2], ids[0], *where, status=1)
    assert cli("approve", "--all", *where) == "2 approved\n" and cli("review", *where, "--json") == {"feedback": []}
    for wrong in (["approve"], ["reject"], ["approve", ids[0], "--all"]):
        cli(*wrong, *where, status=2)
    stopped = tmp_path / "stopped"
    with served(stopped, **REVIEWED) as other:
        kept = send(other, shown("4"))
    assert [row["id"] for row in cli("review", "--state-dir", str(stopped), "--json")["feedback"]] == [kept]
    assert "edge-es serve" in cli("approve", "--all", "--state-dir", str(stopped), status=1)


# duplicates


def test_the_same_lesson_counts_once_whatever_its_id_and_source(serving: Any) -> None:
    daemon = serving(learn={"holdout": 0})
    first = send(daemon, shown("4", tags={"source": "a"}))
    again = [send(daemon, shown("4", tags={"source": source})) for source in ("a", "b")]
    other = send(daemon, shown("5"))
    task, same_task = send(daemon, GRADED), send(daemon, {**GRADED, "tags": {"note": "x"}})
    assert waiting(daemon.store) == [first, other, task]
    assert {fate(daemon, one) for one in again} == {("duplicate", f"the same as feedback {first}")}
    assert fate(daemon, same_task) == ("duplicate", f"the same as feedback {task}")
    listed = daemon.client.get("/v1/feedback", params={"state": "duplicate"}).json()["feedback"]
    assert [row["id"] for row in listed] == [*again, same_task]
    use(daemon.store, [first])
    assert fate(daemon, send(daemon, shown("4")))[0] == "duplicate", "what was learned is not news"


def test_a_duplicate_of_what_is_held_out_or_rejected_stays_out(serving: Any) -> None:
    daemon = serving(**REVIEWED)
    first = send(daemon, shown("4"))
    daemon.client.post(f"/v1/feedback/{first}/reject")
    again = send(daemon, shown("4"))
    assert fate(daemon, again) == ("duplicate", f"the same as feedback {first}")
    refused(daemon.client.post(f"/v1/feedback/{again}/approve"), 409)
    number = next(i for i in range(100) if is_held_out(str(uuid.UUID(int=i)), 0.5))
    held = send(daemon, shown("6", id=str(uuid.UUID(int=number))))
    daemon.client.post(f"/v1/feedback/{held}/approve")
    for _ in range(4):
        assert fate(daemon, send(daemon, shown("6")))[0] == "duplicate", "or it would be trained on and probed"


def test_who_weighs_less_keeps_nobody_from_being_heard(serving: Any) -> None:
    daemon = serving(learn={"holdout": 0}, feedback={"weights": {"web": 0.1, "": 0.5}})
    ids = [
        send(daemon, shown("4", tags=tags)) for tags in ({"source": "web"}, None, {"source": "me"}, {"source": "web"})
    ]
    assert [fate(daemon, one)[0] for one in ids] == ["pending", "pending", "pending", "duplicate"]


def test_ratings_of_two_answers_are_two_however_like_they_are(serving: Any) -> None:
    daemon = serving(learn={"holdout": 0})
    asked = [daemon.client.post("/v1/chat/completions", json={"model": "pocket", **ASK}).json()["id"] for _ in "ab"]
    ids = [send(daemon, {"inference_id": one, "metric_name": "thumbs", "value": True}) for one in (*asked, asked[0])]
    changed = send(daemon, {"inference_id": asked[0], "metric_name": "thumbs", "value": False})
    assert waiting(daemon.store) == [*ids[:2], changed] and fate(daemon, ids[2])[0] == "duplicate"


# who gets into a batch


@pytest.mark.parametrize(("share", "crowd"), [(0.5, 4), (0.75, 6), (1.0, 8)])
def test_a_flood_leaves_the_others_their_room(tmp_path: Path, share: float, crowd: int) -> None:
    def event(name: str, source: str | None) -> Event:
        said = (Exchange(Prompt.user(name), "4"),)
        return Event(name, "demonstration", said, tags={"source": source} if source else {})

    with served(tmp_path) as daemon:
        store = daemon.store
        for number in range(6):
            store.add_event(event(f"used-{number}", None), {"n": number}, held_out=False)
        use(store, [f"used-{number}" for number in range(6)])
        for number in range(50):
            store.add_event(event(f"flood-{number}", "web"), {"n": number}, held_out=False)
        store.add_event(event("late", "me"), {}, held_out=False)
        chosen = [one.id for one, _ in store.next_batch(8, 0, 64, lambda one: 1.0, share)]
        assert chosen[:crowd] == [f"flood-{number}" for number in range(crowd)]
        rest = chosen[crowd:]
        assert ("late" in rest) == (share < 1) and len(chosen) == 8
        assert all(one == "late" or one.startswith("used") for one in rest)
        # Alone, a source has it all.
        store.set_aside([*(f"used-{number}" for number in range(6)), "late"], "tried")
        assert len(store.next_batch(8, 0, 64, lambda one: 1.0, share)) == 8
