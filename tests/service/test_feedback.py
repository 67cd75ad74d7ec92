"""Feedback over HTTP: what is accepted is durable, what is refused names its field and leaves nothing behind."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from echo_daemon import Daemon, refused, use
from feedback_bodies import GRADED, SECTIONS, SHOWN, new_id, serve_one
from hypothesis import given
from hypothesis import strategies as st

from edge_es.feedback import Event, Exchange, Prompt
from service.resolve import MOST_EXCHANGES, is_held_out
from service.store import Answer, Store, StoredCompletion


def stored(daemon: Daemon) -> list[Event]:
    """All events that the learner or the probes see."""
    return [*(event for event, _ in daemon.store.pending(1000, 1000)), *daemon.store.held_out()]


@pytest.fixture
def daemon(serving: Any) -> Daemon:
    """A daemon of the test's own."""
    made: Daemon = serving(**SECTIONS)
    return made


# what becomes of a body


@pytest.mark.parametrize("path", ["/v1/feedback", "/feedback"])
def test_a_demonstration_is_stored_as_sent_and_its_fate_is_told(daemon: Daemon, path: str) -> None:
    body = {**SHOWN, "id": new_id(), "tags": {"source": "editor"}}
    response = daemon.client.post(path, json=body)
    assert response.json() == {"feedback_id": body["id"]}
    (event,) = stored(daemon)
    assert event == Event(
        body["id"], "demonstration", (Exchange(Prompt.user("2 + 2?"), "4"),), tags={"source": "editor"}
    )
    assert daemon.engine.woken == 1
    fate = daemon.client.get(f"/v1/feedback/{body['id']}").json()
    assert fate.pop("received_at").endswith("+00:00")
    assert fate == {
        "id": body["id"],
        "kind": "demonstration",
        "state": "pending",
        "reason": None,
        "used_in": [],
        "feedback": {key: body[key] for key in ("input", "metric_name", "value", "tags")},
    }
    version = use(daemon.store, [body["id"]])
    fate = daemon.client.get(f"/v1/feedback/{body['id'].upper()}").json()
    assert (fate["state"], fate["used_in"]) == ("used", [version])


def test_the_daemon_names_events_that_have_no_id(daemon: Daemon) -> None:
    ids = {daemon.client.post("/v1/feedback", json=SHOWN).json()["feedback_id"] for _ in range(2)}
    assert len(ids) == 2 and {uuid.UUID(i).version for i in ids} == {7}


@pytest.mark.parametrize(
    ("name", "value", "rating"),
    [
        ("thumbs", True, 1.0),
        ("thumbs", False, -1.0),
        ("rating", 0.25, 0.25),
        ("rating", -1, -1.0),
        ("errors", 3, -3.0),
        ("solved", True, 1.0),
        ("flagged", True, -1.0),
    ],
)
def test_a_rating_is_of_the_served_answer_and_larger_is_better(
    daemon: Daemon, name: str, value: Any, rating: float
) -> None:
    served = serve_one(daemon)
    response = daemon.client.post("/v1/feedback", json={"inference_id": served, "metric_name": name, "value": value})
    (event,) = stored(daemon)
    assert response.json() == {"feedback_id": event.id}
    assert (event.kind, event.metric, event.value) == ("rating", name, rating)
    assert event.exchanges == (Exchange(Prompt.user("2 + 2?"), "2 + 2?"),)


def test_a_rating_may_be_of_an_answer_given_elsewhere(daemon: Daemon) -> None:
    body = {"input": SHOWN["input"], "output": "5", "metric_name": "thumbs", "value": False}
    event_id = daemon.client.post("/v1/feedback", json=body).json()["feedback_id"]
    (event,) = stored(daemon)
    assert event == Event(event_id, "rating", (Exchange(Prompt.user("2 + 2?"), "5"),), metric="thumbs", value=-1.0)
    fate = daemon.client.get(f"/v1/feedback/{event_id}").json()
    assert fate["feedback"] == body


def test_a_rating_of_an_episode_speaks_of_all_its_answers(daemon: Daemon) -> None:
    serve_one(daemon, "s1")
    serve_one(daemon, "s1", max_tokens=2)
    daemon.client.post("/v1/feedback", json={"episode_id": "s1", "metric_name": "thumbs", "value": True})
    (event,) = stored(daemon)
    assert [(e.answer, e.ended) for e in event.exchanges] == [("2 + 2?", True), ("2 ", False)]


def test_feedback_speaks_of_so_many_answers_of_an_episode_at_most(daemon: Daemon) -> None:
    bodies = [{"episode_id": "s1", "metric_name": name, "value": v} for name, v in (("thumbs", True), ("comment", "x"))]
    for number in range(MOST_EXCHANGES + 1):
        said = StoredCompletion(f"c{number}", 0, "chat", Prompt.user("?"), (Answer("4", "stop"),), 1, 1, "s1")
        daemon.store.add_completion(said)
        if number == MOST_EXCHANGES - 1:
            assert daemon.client.post("/v1/feedback", json=bodies[0]).status_code == 200
    for body in bodies:
        error = refused(daemon.client.post("/v1/feedback", json=body), 400, "episode_id")
        assert str(MOST_EXCHANGES) in error["message"]


def test_a_served_prompt_may_be_demonstrated_and_preferred(daemon: Daemon) -> None:
    served = serve_one(daemon, n=2)
    daemon.client.post("/v1/feedback", json={"inference_id": served, "metric_name": "demonstration", "value": "4"})
    pair = {"chosen": "4", "rejected": "5"}
    daemon.client.post("/v1/feedback", json={"inference_id": served, "metric_name": "preference", "value": pair})
    prompt = Prompt.user("2 + 2?")
    assert [event.exchanges for event in stored(daemon)] == [
        (Exchange(prompt, "4"),),
        (Exchange(prompt, "4"), Exchange(prompt, "5")),
    ]


def test_what_a_tensorzero_client_sends_is_taken(daemon: Daemon) -> None:
    """As its client for Python, 2026.6, writes it: fields that are not used come as null, false or empty."""
    unused = {"episode_id": None, "internal": False, "tags": {}, "dryrun": None}
    body = {"inference_id": serve_one(daemon), "metric_name": "thumbs", "value": True, **unused}
    assert daemon.client.post("/feedback", json=body).status_code == 200
    assert [event.kind for event in stored(daemon)] == ["rating"]
    refused(daemon.client.post("/feedback", json={**body, "internal": True}), 422, "internal")


def test_a_comment_is_kept_and_not_learned_from(daemon: Daemon) -> None:
    body = {"inference_id": serve_one(daemon), "metric_name": "comment", "value": "nice"}
    event_id = daemon.client.post("/v1/feedback", json=body).json()["feedback_id"]
    assert stored(daemon) == []
    assert daemon.client.get(f"/v1/feedback/{event_id}").json()["state"] == "kept"


def test_a_task_keeps_its_grader(daemon: Daemon) -> None:
    event_id = daemon.client.post("/v1/tasks", json=GRADED).json()["feedback_id"]
    (event,) = stored(daemon)
    assert (event.id, event.kind, event.grader) == (event_id, "task", GRADED["grader"])
    assert daemon.client.get(f"/v1/feedback/{event_id}").json()["feedback"] == GRADED


def test_a_dry_run_checks_everything_and_stores_nothing(daemon: Daemon) -> None:
    assert daemon.client.post("/v1/feedback", json={**SHOWN, "dryrun": True}).status_code == 200
    assert daemon.client.post("/v1/tasks", json={**GRADED, "dryrun": True}).status_code == 200
    refused(daemon.client.post("/v1/feedback", json={**SHOWN, "value": "", "dryrun": True}), 400, "value")
    assert stored(daemon) == []


# the same event again


def test_a_repeat_gets_the_first_answer_and_another_body_conflicts(daemon: Daemon) -> None:
    body = {**SHOWN, "id": new_id()}
    shuffled = dict(reversed(body.items())) | {"tags": None}
    for again in (body, body, shuffled):
        assert daemon.client.post("/v1/feedback", json=again).json() == {"feedback_id": body["id"]}
    key = {"Idempotency-Key": body["id"]}
    assert daemon.client.post("/v1/feedback", json=SHOWN, headers=key).json() == {"feedback_id": body["id"]}
    refused(daemon.client.post("/v1/feedback", json={**body, "value": "5"}), 409, "id", "id_conflict")
    refused(daemon.client.post("/v1/tasks", json={**GRADED, "id": body["id"]}), 409, "id", "id_conflict")
    other = {"Idempotency-Key": new_id()}
    refused(daemon.client.post("/v1/feedback", json=body, headers=other), 400, "Idempotency-Key")
    assert len(stored(daemon)) == 1


def test_a_repeat_after_a_restart_is_known(serving: Any, daemon: Daemon) -> None:
    body = {**SHOWN, "id": new_id()}
    daemon.client.post("/v1/feedback", json=body)
    # A second application on the same store stands for the daemon after its restart.
    with Store.open_read_only(daemon.store.folder) as after:
        assert after.repeats(body["id"], body)


def test_the_same_event_from_many_clients_at_once_counts_once(daemon: Daemon) -> None:
    body = {**SHOWN, "id": new_id()}
    headers = dict(daemon.client.headers)

    def send(_: int) -> httpx.Response:
        return httpx.post(f"{daemon.url}/v1/feedback", json=body, headers=headers, trust_env=False, timeout=30)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(24)))
    assert all(answer.json() == {"feedback_id": body["id"]} for answer in answers)
    assert len(stored(daemon)) == 1


# what waits, and how much


def test_feedback_waits_until_the_model_can_check_it(daemon: Daemon) -> None:
    daemon.engine.ready = False
    refused(daemon.client.post("/v1/feedback", json=SHOWN), 503, code="model_loading")


# JSON Lines


def lines(*bodies: Any) -> bytes:
    return b"\n".join(body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies) + b"\n"


JSONL = {"Content-Type": "application/x-ndjson"}


def test_a_batch_reports_line_by_line_and_good_lines_are_stored(daemon: Daemon) -> None:
    one, two = {**SHOWN, "id": new_id()}, {**SHOWN, "id": new_id(), "value": "four"}
    content = lines(one, b"", b"{", two, one, {**one, "value": "5"}, {**SHOWN, "metric_name": "quality"})
    found = daemon.client.post("/v1/feedback/batch", content=content, headers=JSONL).json()["results"]
    assert [row["line"] for row in found] == [1, 3, 4, 5, 6, 7]
    assert found[0] == {"line": 1, "feedback_id": one["id"]}
    assert found[3] == {"line": 5, "feedback_id": one["id"], "repeated": True}
    assert [row["error"]["param"] for row in found if "error" in row] == [None, "id", "metric_name"]
    assert [event.id for event in stored(daemon)] == [one["id"], two["id"]]
    again = daemon.client.post("/v1/feedback/batch", content=content, headers=JSONL).json()["results"]
    assert again[0] == {"line": 1, "feedback_id": one["id"], "repeated": True}
    assert len(stored(daemon)) == 2


def test_a_batch_of_tasks(daemon: Daemon) -> None:
    headers = {"Content-Type": "application/jsonl"}
    found = daemon.client.post("/v1/tasks/batch", content=lines(GRADED, SHOWN), headers=headers).json()["results"]
    assert "feedback_id" in found[0] and found[1]["error"]["code"] in ("missing_field", "unknown_field")


# a full disk


def test_a_full_disk_answers_507_and_serving_goes_on(daemon: Daemon) -> None:
    big = {**SHOWN, "tags": {"note": "x" * 20_000}}
    pages = daemon.store.query("PRAGMA page_count")[0][0]
    daemon.store.query(f"PRAGMA max_page_count = {pages + 4}")
    answers = [daemon.client.post("/v1/feedback", json={**big, "id": new_id()}) for _ in range(5)]
    accepted = [answer.json()["feedback_id"] for answer in answers if answer.status_code == 200]
    for answer in answers[len(accepted) :]:
        refused(answer, 507, code="disk_full")
    assert 0 <= len(accepted) < 5
    assert [event.id for event in stored(daemon)] == accepted
    batch = daemon.client.post("/v1/feedback/batch", content=lines(*[big] * 5), headers=JSONL)
    refused(batch, 507, code="disk_full")
    assert [event.id for event in stored(daemon)] == accepted
    assert daemon.stranger.post("/v1/completions", json={"model": "pocket", "prompt": "a"}).status_code == 200
    assert daemon.client.get("/v1/status").status_code == 200
    daemon.store.query("PRAGMA max_page_count = 1000000")
    assert daemon.client.post("/v1/feedback", json=big).status_code == 200


# listing, set aside, retry


def test_set_aside_events_are_listed_and_retryable(daemon: Daemon) -> None:
    sent = [daemon.client.post("/v1/feedback", json={**SHOWN, "value": f"4.{i}"}) for i in range(3)]
    ids = [response.json()["feedback_id"] for response in sent]
    use(daemon.store, ids[:2])
    daemon.store.set_aside(ids[:1], "capitals dropped")

    def listed(**params: Any) -> list[str]:
        return [row["id"] for row in daemon.client.get("/v1/feedback", params=params).json()["feedback"]]

    assert listed() == ids and listed(limit=2) == ids[:2] and listed(after=ids[0]) == ids[1:]
    assert (listed(state="set_aside"), listed(state="used"), listed(state="pending")) == (ids[:1], ids[1:2], ids[2:])
    assert daemon.client.get(f"/v1/feedback/{ids[0]}").json()["reason"] == "capitals dropped"
    woken = daemon.engine.woken
    fate = daemon.client.post(f"/v1/feedback/{ids[0]}/retry").json()
    assert (fate["state"], fate["used_in"], fate["reason"]) == ("pending", [1], None)
    assert listed(state="set_aside") == [] and daemon.engine.woken == woken + 1
    refused(daemon.client.post(f"/v1/feedback/{ids[0]}/retry"), 409, "id")
    refused(daemon.client.post(f"/v1/feedback/{new_id()}/retry"), 404, "id")
    refused(daemon.client.get(f"/v1/feedback/{new_id()}"), 404, "id")
    refused(daemon.client.get("/v1/feedback", params={"state": "lost"}), 422, "state")
    refused(daemon.client.get("/v1/feedback", params={"limit": 0}), 422, "limit")
    refused(daemon.client.get("/v1/feedback", params={"after": "x"}), 400, "after")


# holding out


@given(st.uuids(), st.floats(0, 0.99))
def test_holding_out_follows_from_the_id_alone(event_id: uuid.UUID, share: float) -> None:
    assert is_held_out(str(event_id), share) == is_held_out(str(event_id), share)
    assert not is_held_out(str(event_id), 0)
    assert is_held_out(str(event_id), share) <= is_held_out(str(event_id), share + 0.01)


def test_the_share_that_is_held_out_is_the_configured_one(serving: Any) -> None:
    daemon = serving(learn={"holdout": 0.25})
    bodies = [{**SHOWN, "id": str(uuid.UUID(int=i)), "value": str(i)} for i in range(400)]
    daemon.client.post("/v1/feedback/batch", content=lines(*bodies), headers=JSONL)
    held = {event.id for event in daemon.store.held_out()}
    assert held == {body["id"] for body in bodies if is_held_out(body["id"], 0.25)}
    assert 80 <= len(held) <= 120
    assert daemon.client.get(f"/v1/feedback/{min(held)}").json()["state"] == "held_out"
