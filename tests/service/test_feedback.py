"""Feedback over HTTP: what is accepted is durable, what is refused names its field and leaves nothing behind."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from echo_daemon import CONTEXT, Daemon, refused, served, use
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import MetricSection
from edge_es.feedback import Event, Exchange, Prompt
from service.resolve import is_held_out, resolve_feedback
from service.schemas import Feedback
from service.store import Store

ASK = {"messages": [{"role": "user", "content": "2 + 2?"}]}
SHOWN = {"input": ASK, "metric_name": "demonstration", "value": "4"}
GRADED = {"input": ASK, "grader": {"type": "string_check", "operation": "eq", "reference": "4"}}


def new_id() -> str:
    return str(uuid.uuid4())


def serve_one(daemon: Daemon, session: str | None = None, **fields: Any) -> str:
    headers = {"X-Session-Id": session} if session else {}
    body = {"model": "pocket", **ASK, **fields}
    answer: str = daemon.stranger.post("/v1/chat/completions", json=body, headers=headers).json()["id"]
    return answer


def stored(daemon: Daemon) -> list[Event]:
    """All events that the learner or the probes see."""
    return [*(event for event, _ in daemon.store.pending(1000, 1000)), *daemon.store.held_out()]


# Nothing is held out: what is sent waits.
SECTIONS: dict[str, Any] = {
    "learn": {"holdout": 0},
    "metrics": {
        "errors": {"type": "float", "optimize": "min", "low": 0, "high": 10},
        "solved": {"type": "boolean"},
        "flagged": {"type": "boolean", "optimize": "min"},
    },
}


@pytest.fixture
def daemon(serving: Any) -> Daemon:
    """A daemon of the test's own."""
    made: Daemon = serving(**SECTIONS)
    return made


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that store nothing."""
    with served(tmp_path_factory.mktemp("refusing"), **SECTIONS) as made:
        yield made


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


def test_a_rating_of_an_episode_speaks_of_all_its_answers(daemon: Daemon) -> None:
    serve_one(daemon, "s1")
    serve_one(daemon, "s1", max_tokens=2)
    daemon.client.post("/v1/feedback", json={"episode_id": "s1", "metric_name": "thumbs", "value": True})
    (event,) = stored(daemon)
    assert [(e.answer, e.ended) for e in event.exchanges] == [("2 + 2?", True), ("2 ", False)]


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


# bad input


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"value": ""}, 400, "value"),
        ({"value": 4}, 400, "value"),
        ({"value": None}, 400, "value"),
        ({"metric_name": "quality"}, 400, "metric_name"),
        ({"metric_name": 1}, 422, "metric_name"),
        ({"metric_name": None}, 422, "metric_name"),
        ({"metric_name": "rating", "value": 0.5}, 400, "input"),
        ({"metric_name": "preference", "value": "4"}, 400, "value"),
        ({"metric_name": "preference", "value": {"chosen": "4"}}, 400, "value.rejected"),
        ({"metric_name": "preference", "value": {"chosen": "4", "rejected": "4"}}, 400, "value"),
        ({"metric_name": "preference", "value": {"chosen": "4", "rejected": "5", "why": ""}}, 422, "value.why"),
        ({"input": {}}, 422, "input"),
        ({"input": {"prompt": "a", **ASK}}, 422, "input"),
        ({"input": {"messages": []}}, 422, "input.messages"),
        ({"input": {"messages": [{"role": "user", "content": 5}]}}, 422, "input.messages[0].content"),
        ({"input": {"prompt": "x" * CONTEXT}}, 400, "input"),
        ({"value": "x" * CONTEXT}, 400, "value"),
        ({"id": "1"}, 422, "id"),
        ({"tags": {"a": 1}}, 422, "tags.a"),
        ({"tags": ["a"]}, 422, "tags"),
        ({"dryrun": "yes"}, 422, "dryrun"),
        ({"colour": "red"}, 422, "colour"),
        ({"episode_id": "s1"}, 422, None),
        ({"input": None}, 422, None),
        ({"input": None, "inference_id": "1"}, 422, "inference_id"),
        ({"input": None, "inference_id": new_id()}, 404, "inference_id"),
        ({"input": None, "episode_id": "s1"}, 400, "episode_id"),
        ({"input": None, "episode_id": "s1", "metric_name": "thumbs", "value": True}, 404, "episode_id"),
    ],
)
def test_bad_feedback_is_refused_by_field_and_leaves_nothing(
    refusing: Daemon, change: dict[str, Any], status: int, param: str | None
) -> None:
    error = refused(refusing.client.post("/v1/feedback", json=SHOWN | change), status)
    assert error["param"] == param
    assert param is None or param in error["message"] or param == "input"
    assert refusing.store.list_events() == [] and refusing.engine.woken == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thumbs", 1),
        ("thumbs", "yes"),
        ("rating", True),
        ("rating", "0.5"),
        ("rating", 1.01),
        ("errors", -1),
        ("rating", None),
    ],
)
def test_a_rating_of_the_wrong_type_or_range_is_refused(refusing: Daemon, name: str, value: Any) -> None:
    body = {"inference_id": serve_one(refusing), "metric_name": name, "value": value}
    refused(refusing.client.post("/v1/feedback", json=body), 400, "value")


def test_a_rating_of_several_answers_is_refused(refusing: Daemon) -> None:
    body = {"inference_id": serve_one(refusing, n=2), "metric_name": "thumbs", "value": True}
    refused(refusing.client.post("/v1/feedback", json=body), 400, "inference_id")


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", None),
        ("{", None),
        ("[]", None),
        ("null", None),
        ('{"value": NaN}', "value"),
        ('{"value": -Infinity}', "value"),
        ('{"value": 1e999}', "value"),
        ('{"tags": {"a": [1, NaN]}}', "tags.a[1]"),
        ('{"value": "4", "value": "5"}', "value"),
        ('{"input": {"prompt": "a", "prompt": "b"}}', "input.prompt"),
        ('{"value": "\\ud800"}', "value"),
        ('{"\\ud800": 1}', None),
        ('{"value": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ('{"value": ' + "1" * 5000 + "}", None),
        ('{"value": "\xff"}', None),
    ],
)
def test_what_is_no_proper_json_is_refused(refusing: Daemon, text: str, param: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    error = refused(refusing.client.post("/v1/feedback", content=text.encode("latin-1"), headers=headers), 400)
    assert error["param"] == param
    assert refusing.store.list_events() == []


@pytest.mark.parametrize(
    ("grader", "param"),
    [({}, "grader"), ({"type": "python", "code": "1"}, "grader"), ({"type": "string_check"}, "grader")],
)
def test_a_grader_that_could_not_grade_is_refused(refusing: Daemon, grader: dict[str, Any], param: str) -> None:
    error = refused(refusing.client.post("/v1/tasks", json={**GRADED, "grader": grader}), 400)
    assert error["param"].startswith(param)
    assert refusing.store.list_events() == []


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


@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_a_batch_of_another_content_type_is_refused(refusing: Daemon, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused(refusing.client.post("/v1/feedback/batch", content=lines(SHOWN), headers=headers), 415, "Content-Type")


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


@given(
    value=st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
    metric=st.sampled_from(["thumbs", "rating", "demonstration", "preference", "comment", "other"]),
)
def test_any_value_is_stored_or_refused_by_name(value: Any, metric: str) -> None:
    from edge_es.errors import InputError

    body = Feedback.model_validate({"input": {"prompt": "a"}, "metric_name": metric, "value": value})
    metrics = {"thumbs": MetricSection(type="boolean"), "rating": MetricSection(type="float")}
    try:
        event = resolve_feedback(body, new_id(), metrics, None)  # type: ignore[arg-type]
    except InputError as error:
        assert error.param in ("value", "metric_name", "input")  # noqa: PT017
    else:
        assert isinstance(value, str) and value and metric in ("demonstration", "comment")
        assert Event.from_json(json.loads(json.dumps(event.as_json()))) == event
