"""One daemon's life, as a process of its own: taught over HTTP, asked, rolled back, stopped, read at rest, restarted.

The tests run in this order: each leaves the daemon as the next one expects it.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.daemon.live import Live, child, cli, demonstration, event_id, merged

HOLDOUT = 0.5
CLIP, RADIUS = 0.5, 0.6
GUARDS = {"clip": CLIP, "decay": 0.1, "trust_radius": RADIUS, "mask": {"kind": "random", "density": 0.5}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("life")


@pytest.fixture(scope="module")
def settings(tree: dict[str, Any]) -> dict[str, Any]:
    return merged(tree, {"guards": GUARDS, "learn": {"holdout": HOLDOUT, "max_uses": 3}})


@pytest.fixture(scope="module")
def live(place: Path, settings: dict[str, Any]) -> Iterator[Live]:
    with child(place, settings) as found:
        yield found


def one_of_each(inference: str, first: int) -> list[tuple[str, dict[str, Any]]]:
    """(kind, body): lessons from number `first` on, and what is said of one answer."""
    chat = [{"role": "user", "content": f"zorp {first}"}]
    rating = {"inference_id": inference, "metric_name": "thumbs"}
    words = {"type": "string_check", "operation": "like", "reference": "a"}
    chosen = {"metric_name": "preference", "value": {"chosen": "a", "rejected": "b"}}
    return [
        ("demonstration", demonstration(first)),
        ("demonstration", demonstration(first + 1)),
        ("preference", {**demonstration(first + 2), **chosen}),
        ("rating", {**rating, "value": False}),
        ("rating", {**rating, "value": True}),
        ("rating", {**rating, "metric_name": "rating", "value": 0.5}),
        ("task", {"input": {"messages": chat}, "grader": words}),
    ]


@pytest.fixture(scope="module")
def first_words(live: Live) -> str:
    """What the anchor says, before anything is learned."""
    live.rest()  # the anchor's probes are done
    text: str = live.chat("hello").json()["choices"][0]["message"]["content"]
    return text


@pytest.fixture(scope="module")
def sent(live: Live, first_words: str) -> dict[str, tuple[str, str]]:
    """id -> (kind, what is to become of it); the last ones wait for company."""
    told: dict[str, tuple[str, str]] = {}
    for held_out in (True, False):
        answer = live.chat(f"what is zorp {held_out}?").json()
        for number, (kind, body) in enumerate(one_of_each(answer["id"], first=10 * held_out)):
            event = event_id(10 * number + held_out, held_out, HOLDOUT)
            assert live.send({**body, "id": event}) == event
            told[event] = (kind, "held_out" if held_out else "used")
    comment = {"inference_id": answer["id"], "metric_name": "comment", "value": "rather short"}
    told[live.send(comment)] = ("comment", "kept")
    return told


def test_the_anchor_answers_as_it_did_when_it_was_loaded(
    live: Live, sent: dict[str, tuple[str, str]], first_words: str
) -> None:
    assert live.rest()["version"] > 0
    name = live.get("/v1/models")["data"][0]["id"]
    answer = live.chat("hello", model=f"{name}@0")
    assert answer.headers["x-edge-es-version"] == "0"
    assert answer.json()["choices"][0]["message"]["content"] == first_words
    assert live.chat("hello").headers["x-edge-es-version"] != "0"


def taken(live: Live) -> list[dict[str, Any]]:
    """The steps that were published: a batch on which all members tie is rejected, rightly."""
    return [row for row in live.versions("step") if row["version"] is not None]


def test_every_kind_of_feedback_meets_its_fate(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    assert live.rest()["reason"] is None
    fates = {event: live.fate(event) for event in sent}
    assert {event: (fate["kind"], fate["state"]) for event, fate in fates.items()} == sent
    numbers = {row["version"] for row in taken(live)}
    for event, (_, state) in sent.items():
        used = fates[event]["used_in"]
        if state == "used":
            assert used and set(used) <= numbers and len(used) <= 3
        else:
            assert used == []
    trained = {event for event, (_, state) in sent.items() if state == "used"}
    assert {event for row in live.versions() for event in row["events"]} == trained
    for row in taken(live):
        for event in row["events"]:
            assert row["version"] in fates[event]["used_in"]


def test_what_is_too_little_to_learn_from_waits(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    newest = live.rest()["version"]
    waiting = event_id(1000, False, HOLDOUT)
    live.send(demonstration(1000, id=waiting))
    live.chat()  # whatever the learner would do, it had its turn before this answer
    assert live.rest()["version"] == newest
    assert live.fate(waiting)["state"] == "pending" and live.fate(waiting)["used_in"] == []
    assert live.get("/v1/status")["events"] == {"pending": 1, "used": 7, "set_aside": 0, "review": 0}


def test_all_guards_at_once_are_read_in_the_versions(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    rows = taken(live)
    assert len(rows) >= 3
    assert all(row["step_norm"] <= CLIP * 1.00001 for row in rows)
    assert all(row["delta_norm"] <= RADIUS * 1.00001 for row in rows)
    assert all(0.4 < row["sparsity"] < 0.6 for row in rows)
    assert all(0 < row["novelty_share"] < 1 for row in rows)
    assert {kind for row in rows for kind in row["fitness_mean"]} == {"demonstration", "preference", "rating", "task"}


def test_probes_follow_the_versions(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    rows = live.get("/v1/retention")["retention"]
    newest = live.rest()["version"]
    probed = {row["version"] for row in rows}
    assert {0, newest} <= probed, "the anchor, and at rest what is served"
    assert max(b - a for a, b in zip(sorted(probed), sorted(probed)[1:], strict=False)) <= 2, "probes.every"
    assert {row["suite"] for row in rows} >= {"texts", "pairs", "echoes", "drift"}
    at = {(row["suite"], row["kind"]): row for row in rows if row["version"] == newest}
    assert at["drift", "kl"]["score"] > 0 == at["drift", "kl"]["anchor"]
    assert at["texts", "perplexity"]["retention"] == pytest.approx(1, abs=0.2)


def _chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _logprobs(choice: dict[str, Any]) -> list[float]:
    return [token["logprob"] for token in (choice["logprobs"] or {"content": []})["content"]]


def test_an_answer_keeps_its_version_while_others_are_published(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    # Log-probabilities tell versions apart at every token, even where both would say the same.
    first, count = live.rest()["version"], 40
    body: dict[str, Any] = {"content": "tell me", "logprobs": True}
    alone = live.chat(**body, max_tokens=count).json()["choices"][0]
    said: list[float] = []
    prints: set[str] = set()
    beside: list[float] = []
    model = live.get("/v1/models")["data"][0]["id"]
    long = {"model": model, "messages": [{"role": "user", "content": "tell me"}], "temperature": 0, "logprobs": True}
    with live.client.stream(
        "POST", "/v1/chat/completions", json={**long, "max_tokens": 1500, "stream": True}
    ) as response:
        assert response.headers["x-edge-es-version"] == str(first)
        for chunk in _chunks(response):
            prints.add(chunk["system_fingerprint"])
            said += _logprobs(chunk["choices"][0])
            if not beside:
                made = live.post("/v1/rollback", {"version": 0})["version"]
                other = live.chat(**body, max_tokens=count)  # in one batch with the long one
                assert other.headers["x-edge-es-version"] == str(made)
                beside = _logprobs(other.json()["choices"][0])
                live.post("/v1/rollback", {"version": first})
                said_by_then = len(said)
            if len(said) >= max(count, said_by_then + 10):  # some of them after both were published
                break
    assert prints == {f"edge-es-v{first}"}
    assert said[:count] == pytest.approx(_logprobs(alone), abs=1e-4)
    assert beside != pytest.approx(_logprobs(alone), abs=1e-2), "the versions do differ on this prompt"
    assert live.rest()["version"] == first + 2
    for version, expected in ((0, beside), (first, _logprobs(alone))):  # each alone says what it said in company
        live.post("/v1/rollback", {"version": version})
        again = live.chat(**body, max_tokens=count).json()["choices"][0]
        assert _logprobs(again) == pytest.approx(expected, abs=1e-4)


def _listings(*where: str) -> dict[str, Any]:
    status = cli("status", *where)
    status["memory"].pop("peak_bytes")  # grows while it serves
    return {"status": status, "versions": cli("versions", *where), "log": cli("retention", "log", *where)}


def _over_http(live: Live) -> dict[str, Any]:
    status = live.get("/v1/status")
    status["memory"].pop("peak_bytes")
    return {
        "status": status,
        "versions": live.get("/v1/versions")["versions"],
        "log": live.get("/v1/retention")["retention"],
    }


def test_a_rollback_by_hand_is_a_new_version_with_the_old_delta(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    where = ("--state-dir", str(live.folder), "--json")
    steps = taken(live)
    newest = live.rest()["version"]
    by_cli = cli("rollback", str(steps[0]["version"]), "--reason", "too eager", *where)
    assert by_cli == {"version": newest + 1, "target": steps[0]["version"]}
    by_api = live.post("/v1/rollback", {"version": steps[-1]["version"], "reason": "not so bad"})
    assert by_api == {"version": newest + 2, "target": steps[-1]["version"]}
    rows = {row["version"]: row for row in live.versions()}
    assert [rows[v]["reason"] for v in (newest + 1, newest + 2)] == ["too eager", "not so bad"]
    assert rows[newest + 1]["sha256"] == steps[0]["sha256"] and rows[newest + 2]["sha256"] == steps[-1]["sha256"]
    assert rows[steps[-1]["version"]]["state"] == "rolled_back"
    assert live.rest()["version"] == newest + 2
    assert live.chat().headers["x-edge-es-version"] == str(newest + 2)
    assert cli("verify", *where)["ok"]
    assert _listings(*where) == _over_http(live)


def test_sigterm_finishes_the_request_in_hand(live: Live, sent: dict[str, tuple[str, str]]) -> None:
    where = ("--state-dir", str(live.folder), "--json")
    before = _over_http(live)
    model = live.get("/v1/models")["data"][0]["id"]
    body = {"model": model, "prompt": "on and on", "temperature": 0, "max_tokens": 150}
    expected = live.client.post("/v1/completions", json=body).json()["choices"][0]
    assert live.process is not None
    text, finish, asked = "", None, 0.0
    with live.client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
        for chunk in _chunks(response):
            if not asked:
                asked = time.monotonic()
                live.process.terminate()
            text += chunk["choices"][0]["text"]
            finish = chunk["choices"][0]["finish_reason"]
    assert live.process.wait(30) == 0
    assert time.monotonic() - asked < 5, "promised: exits within 5 s"
    assert (text, finish) == (expected["text"], expected["finish_reason"])
    assert not (live.folder / "daemon.json").exists()
    assert _listings(*where) == before, "at rest the folder says the same"


def test_a_stopped_folder_is_rolled_back_and_a_restart_goes_on_there(
    live: Live, place: Path, settings: dict[str, Any], sent: dict[str, tuple[str, str]]
) -> None:
    where = ("--state-dir", str(live.folder), "--json")
    before = _listings(*where)
    target = next(row for row in before["versions"] if row["kind"] == "step" and row["version"] is not None)
    made = cli("rollback", str(target["version"]), *where)
    at_rest = _listings(*where)
    assert at_rest["versions"][:-1] == [
        {**row, "state": now["state"]} for row, now in zip(before["versions"], at_rest["versions"], strict=False)
    ]
    assert cli("verify", *where)["ok"]
    with child(place, settings) as again:
        assert again.get("/v1/status")["version"] == made["version"]
        newest = again.versions()[-1]
        assert newest["version"] >= made["version"]
        rows = {row["version"]: row for row in again.versions()}
        assert rows[made["version"]]["sha256"] == target["sha256"]
        waiting = event_id(1000, False, HOLDOUT)
        assert again.fate(waiting)["state"] == "pending"
        assert again.rest()["events"] == before["status"]["events"]
        for number in (1001, 1002, 1003):
            again.send(demonstration(number, id=event_id(number, False, HOLDOUT)))
        again.until(lambda: again.fate(waiting)["state"] == "used", "the event that waited over the restart")
        assert again.get("/v1/verify")["ok"]
        assert again.stop() == 0
