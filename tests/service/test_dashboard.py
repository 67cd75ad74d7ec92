"""The page and what it asks for: who may read what, what news are told to whom, and what it costs with a long past."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from echo_daemon import Daemon, refused, use
from starlette.requests import Request
from starlette.types import Message

from edge_es import ledger
from edge_es.probes.verdicts import SuiteResult
from service.api import dashboard as page
from service.api import events

SHOWN = {"input": {"prompt": "secret question"}, "metric_name": "demonstration", "value": "secret answer"}


def lines(response: Any) -> Iterator[str]:
    return (line for line in response.iter_lines() if line and not line.startswith(":"))


def one(stream: Iterator[str]) -> tuple[str, str, dict[str, Any]]:
    """The next event: (id, kind, data)."""
    number = next(stream)
    kind = next(stream) if number.startswith("id: ") else number
    return number.removeprefix("id: "), kind.removeprefix("event: "), json.loads(next(stream).removeprefix("data: "))


# the page


def test_the_page_and_its_parts_are_served_to_everyone_and_forbid_all_else(daemon: Daemon) -> None:
    text = daemon.stranger.get("/").text
    assert "<script>" not in text and " style=" not in text and not re.search(r" on[a-z]+=", text)
    assert re.findall(r'(?:src|href)="(?!/dashboard/|#)', text) == []
    named = set(re.findall(r'"/dashboard/([^"]+)"', text))
    assert named == set(page.ASSETS) - {"index.html"}
    for name in ("", *(f"dashboard/{name}" for name in named)):
        answer = daemon.stranger.get(f"/{name}")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = daemon.stranger.get(f"/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert daemon.stranger.get("/dashboard/style.css").headers["content-type"].startswith("text/css")


def test_no_other_file_is_a_part_of_it(daemon: Daemon) -> None:
    for name in ("tokens.json", "uplot.LICENSE", "..%2Fapp.py", "%2e%2e/app.py"):
        assert daemon.stranger.get(f"/dashboard/{name}").status_code in (404, 422)


def test_the_page_is_not_for_foreign_names(daemon: Daemon) -> None:
    refused(daemon.stranger.get("/", headers={"Host": "evil.example"}), 403, "Host")


# what everybody may read


def test_who_holds_no_token_reads_figures_and_no_texts(daemon: Daemon) -> None:
    event = daemon.client.post("/v1/feedback", json=SHOWN).json()["feedback_id"]
    daemon.client.post("/v1/probes/run")
    use(daemon.store, [event])
    ledger.rollback(daemon.store, 0, "because of the secret")
    daemon.client.post("/v1/learning/pause", json={"reason": "a secret reason"})
    answer = daemon.stranger.get("/v1/overview")
    row = answer.json()
    assert (row["model"], row["version"], row["learning"]) == ("pocket", 2, "paused")
    assert row["week"] == {"published": 1, "rejected": 0, "rollbacks": 1, "lessons": 1}
    assert row["forgotten"]["answer"] == "no"
    assert [one["suite"] for one in row["suites"]] == ["capitals"]
    past = daemon.stranger.get("/v1/history")
    assert past.json()["rollbacks"][0] | {"at": ""} == {"version": 2, "target": 0, "at": "", "automatic": False}
    for text in (answer.text, past.text):
        assert "secret" not in text and event not in text
    for path in ("/v1/status", "/v1/versions", "/v1/rollbacks/2", f"/v1/inferences/{event}", "/v1/feedback"):
        refused(daemon.stranger.get(path), 401)
    refused(daemon.stranger.post(f"/v1/feedback/{event}/set_aside"), 401)


def test_beyond_loopback_it_asks_for_a_token(serving: Any) -> None:
    daemon = serving(serve={"host": "0.0.0.0"})
    for path in ("/v1/overview", "/v1/history", "/v1/events"):
        refused(daemon.stranger.get(path), 401)
    assert daemon.stranger.get("/").status_code == 200


# news


def test_reasons_are_told_to_holders_of_the_token_alone(daemon: Daemon) -> None:
    with daemon.stranger.stream("GET", "/v1/events") as theirs, daemon.client.stream("GET", "/v1/events") as ours:
        both = lines(theirs), lines(ours)
        daemon.engine.tell("learning", {"state": "paused", "reason": "a secret"})
        assert one(both[0])[1:] == ("learning", {"state": "paused"})
        assert one(both[1])[1:] == ("learning", {"state": "paused", "reason": "a secret"})


def test_who_comes_back_is_told_what_came_meanwhile(daemon: Daemon) -> None:
    with daemon.client.stream("GET", "/v1/events") as response:
        stream = lines(response)
        daemon.engine.tell("probe", {"version": 1, "dropped": []})
        last = one(stream)[0]
    for version in (2, 3):
        daemon.engine.tell("learning", {"version": version})
    with daemon.client.stream("GET", "/v1/events", headers={"Last-Event-ID": last}) as response:
        stream = lines(response)
        found = [one(stream) for _ in range(3)]
        told = [data for _, kind, data in found if kind == "learning"]
        assert told == [{"version": 2}, {"version": 3}]
    with daemon.client.stream("GET", "/v1/events", headers={"Last-Event-ID": "of another run"}) as response:
        assert one(lines(response))[1:] == ("missed", {})


def test_feedback_is_counted_once_however_much_comes(daemon: Daemon) -> None:
    with daemon.client.stream("GET", "/v1/events") as response:
        stream = lines(response)
        for number in range(20):
            body = {**SHOWN, "input": {"prompt": f"question {number}"}}
            daemon.client.post("/v1/feedback", json=body)
        counts: list[int] = []
        while not counts or counts[-1] < 20:
            _, kind, data = one(stream)
            assert kind == "feedback"
            counts.append(data["pending"] + data["held_out"])
        assert len(counts) < 15


def test_streams_without_the_token_are_few(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STRANGERS", 1)
    with daemon.stranger.stream("GET", "/v1/events") as first:
        raw = first.iter_raw()
        assert next(raw) == b": ping\n\n"
        refused(daemon.stranger.get("/v1/events"), 429, code="busy")
        with daemon.client.stream("GET", "/v1/events") as ours:
            assert ours.status_code == 200
    while daemon.context.news.readers:
        time.sleep(0.02)
    with daemon.stranger.stream("GET", "/v1/events") as again:
        assert again.status_code == 200


def test_a_stream_that_ends_before_it_began_is_no_reader(daemon: Daemon) -> None:
    """A client that takes no more bytes and goes: what holds its place would hold it for ever."""

    async def gone() -> int:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await asyncio.sleep(60)  # nothing can be written

        scope = {"type": "http", "method": "GET", "path": "/v1/events", "headers": [], "query_string": b""}
        request = Request({**scope, "app": SimpleNamespace(state=SimpleNamespace(context=daemon.context))})
        response = await events.events(daemon.context, request)
        assert len(daemon.context.news.readers) == 1
        await response(request.scope, receive, send)
        return len(daemon.context.news.readers)

    assert asyncio.run(gone()) == 0


# what only holders of the token may


def test_what_is_learned_from_can_be_set_aside_and_come_back(daemon: Daemon) -> None:
    event = daemon.client.post("/v1/feedback", json={**SHOWN, "id": "00000000-0000-4000-8000-000000000001"})
    one = event.json()["feedback_id"]
    state = daemon.client.get(f"/v1/feedback/{one}").json()["state"]
    answer = daemon.client.post(f"/v1/feedback/{one}/set_aside", json={"reason": "a joke"})
    if state == "held_out":
        refused(answer, 409, "id")
        return
    assert (answer.json()["state"], answer.json()["reason"]) == ("set_aside", "a joke")
    refused(daemon.client.post(f"/v1/feedback/{one}/set_aside"), 409, "id")
    assert daemon.client.post(f"/v1/feedback/{one}/retry").json()["state"] == "pending"


def test_the_newest_feedback_comes_first_page_by_page(daemon: Daemon) -> None:
    ids = [
        daemon.client.post("/v1/feedback", json={**SHOWN, "input": {"prompt": str(n)}}).json()["feedback_id"]
        for n in range(5)
    ]
    first = daemon.client.get("/v1/feedback?newest=true&limit=2").json()["feedback"]
    second = daemon.client.get(f"/v1/feedback?newest=true&limit=9&after={first[-1]['id']}").json()["feedback"]
    assert [row["id"] for row in (*first, *second)] == ids[::-1]


def test_an_answer_is_found_by_its_inference_id(daemon: Daemon) -> None:
    served = daemon.stranger.post("/v1/completions", json={"model": "pocket", "prompt": "echo"}).json()
    found = daemon.client.get(f"/v1/inferences/{served['id']}").json()
    assert (found["input"], found["answers"][0]["text"], found["version"]) == ({"prompt": "echo"}, "echo", 0)
    refused(daemon.client.get("/v1/inferences/0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01"), 404, "id")


def test_a_rollback_by_hand_is_told_as_one_whatever_had_dropped(daemon: Daemon) -> None:
    """The picture and the story once said two things of it."""
    use(daemon.store, [])
    lost = SuiteResult(1, "capitals", "choice", 4, 0.5, 1.0, 0.5, 0.4, 0.6, "dropped", ledger.now())
    daemon.store.save_probe(1, ledger.now(), [lost], {})
    for reason, automatic in (("I forgot: try again", False), ("version 3 forgot: capitals at 0.500", True)):
        ledger.rollback(daemon.store, 0, reason)
        use(daemon.store, [])
        newest = daemon.client.get("/v1/history").json()["rollbacks"][-1]
        told = daemon.client.get(f"/v1/rollbacks/{newest['version']}").json()
        assert (newest["automatic"], told["automatic"]) == (automatic, automatic)


def test_the_story_of_what_is_no_rollback_is_not_told(daemon: Daemon) -> None:
    for version in (0, 7):
        refused(daemon.client.get(f"/v1/rollbacks/{version}"), 404, "version")


# the anchor


def test_the_anchor_is_asked_by_name(daemon: Daemon) -> None:
    use(daemon.store, [])
    body = {"messages": [{"role": "user", "content": "hello"}]}
    for name, version in (("pocket", 1), ("pocket@0", 0)):
        answer = daemon.stranger.post("/v1/chat/completions", json={**body, "model": name})
        assert answer.headers["x-edge-es-version"] == str(version)
        assert (answer.json()["model"], answer.json()["system_fingerprint"]) == (name, f"edge-es-v{version}")
        assert daemon.client.get(f"/v1/inferences/{answer.json()['id']}").json()["version"] == version
        assert daemon.stranger.get(f"/v1/models/{name}").json()["id"] == name
    for name in ("pocket@1", "pocket@", "other@0"):
        refused(daemon.stranger.post("/v1/chat/completions", json={**body, "model": name}), 404, "model")
