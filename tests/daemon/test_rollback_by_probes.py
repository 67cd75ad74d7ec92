"""Something known is forgotten: the probes notice, the daemon goes back, sets the feedback aside, learns slower."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_es import bisection
from edge_es.errors import StateError
from edge_es.learner import turn
from edge_es.slices import Slices
from tests.daemon.live import Live, cli, demonstration, inside, merged

ITEMS = 64
TOKENS = 6


@pytest.fixture(scope="module")
def known(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of which the untaught model gives every answer: its own first words."""
    from edge_es.answers import Row, Sampling
    from edge_es.config import Config
    from edge_es.decode import generate
    from edge_es.feedback import Prompt
    from edge_es.model import encode_prompt, load_base
    from edge_es.slices import run
    from edge_es.spaces.delta import Delta

    base = load_base(Config(**tree).model)
    prompts = [f"say {n}" for n in range(2 * ITEMS)]
    rows = [Row(encode_prompt(base, Prompt.user(p)), Delta(), Sampling(TOKENS)) for p in prompts]
    answers = [answer.text for answer in run(generate(base, rows))]
    items = [
        {
            "prompt": prompt,
            "grader": {"type": "string_check", "operation": "eq", "reference": answer},
            "max_tokens": TOKENS,
        }
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer
    ][:ITEMS]
    assert len(items) == ITEMS
    path = tmp_path_factory.mktemp("known") / "known.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture
def reckless(tree: dict[str, Any], known: Path) -> dict[str, Any]:
    """Nothing but the probes stands between the feedback and the model."""
    over = {
        "search": {"alpha": 20.0, "focus": False},
        "guards": {"protect": {"energy": 0.0}},
        "learn": {"max_uses": 2, "kl_below": 0.0},
        "probes": {"suites": [str(known)]},
        "rollback": {"max_in_a_row": 2},
    }
    return merged(tree, over)


def teach(live: Live, first: int) -> list[str]:
    events = [live.send(demonstration(number)) for number in range(first, first + 4)]
    live.until(lambda: all(live.fate(event)["state"] == "set_aside" for event in events), "the rollback")
    live.rest()
    return events


def test_forgetting_is_noticed_and_taken_back(tmp_path: Path, reckless: dict[str, Any]) -> None:
    with inside(tmp_path, reckless) as live:
        live.rest()
        anchor = live.get("/v1/retention")["retention"]
        assert [(row["suite"], row["score"], row["verdict"]) for row in anchor] == [("known", 1.0, "kept")]
        answer = live.chat("say 3", TOKENS).json()["choices"][0]["message"]["content"]

        events = teach(live, 0)
        rows = live.versions()
        worst = [row for row in live.get("/v1/retention")["retention"] if row["verdict"] == "dropped"]
        assert len(worst) == 1 and worst[0]["retention"] < 0.5
        back = rows[-1]
        assert (back["kind"], back["state"]) == ("rollback", "published")
        assert back["sha256"] == rows[0]["sha256"] and back["version"] == worst[0]["version"] + 1
        assert "known" in back["reason"] and f"version {worst[0]['version']}" in back["reason"]
        assert {row["state"] for row in rows[1:-1]} == {"rolled_back"}
        for event in events:
            fate = live.fate(event)
            assert "known" in fate["reason"] and fate["used_in"]
        named = live.get("/v1/retention/blame")["blame"]
        assert [(row["version"], row["target"], row["last_good"]) for row in named] == [(back["version"], 0, 0)]
        assert named[0]["first_bad"] == live.versions("step")[0]["version"]
        listed = live.get("/v1/feedback?state=set_aside")["feedback"]
        assert [fate["id"] for fate in listed] == events
        assert live.chat("say 3", TOKENS).json()["choices"][0]["message"]["content"] == answer
        now = live.get("/v1/status")
        assert (now["learning"], now["version"]) == ("idle", back["version"])
        assert now["retention"]["known"]["verdict"] == "kept", "what is served again is probed again"

        first_step = live.versions("step")[0]["step_norm"]
        teach(live, 10)  # the second in a row
        steps = live.versions("step")
        halved = next(row for row in steps if row["attempt"] > back["attempt"])
        assert halved["step_norm"] == pytest.approx(first_step / 2, rel=0.3)
        paused = live.get("/v1/status")
        assert paused["learning"] == "paused" and "2 rollbacks in a row" in paused["reason"]
        assert live.chat().status_code == 200
        more = [live.send(demonstration(number)) for number in range(20, 24)]
        assert live.chat().status_code == 200
        assert {live.fate(event)["state"] for event in more} == {"pending"}
        attempts = len(live.versions())

    with inside(tmp_path, merged(reckless, {"search": {"alpha": 0.01}})) as live:  # paused over the restart, too
        assert live.get("/v1/status")["learning"] == "paused"
        assert len(live.versions()) == attempts
        live.post("/v1/learning/resume")
        live.until(lambda: all(live.fate(event)["state"] == "used" for event in more), "learning to go on")
        assert live.rest()["reason"] is None
        assert live.versions()[-1]["state"] == "published"
        again = live.post(f"/v1/feedback/{events[0]}/retry")
        assert (again["state"], again["reason"]) == ("pending", None)
        assert live.get("/v1/verify")["ok"]


def test_a_rollback_that_breaks_half_way_did_not_begin(
    tmp_path: Path, reckless: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, reckless) as live:
        live.rest()
        store = live.store
        assert store is not None
        set_aside, broken = store.set_aside, True

        def breaks(ids: Sequence[str], reason: str) -> int:
            if broken:
                raise StateError("no such luck")
            return set_aside(ids, reason)

        monkeypatch.setattr(store, "set_aside", breaks)
        events = [live.send(demonstration(number)) for number in range(4)]
        live.until(lambda: live.get("/v1/status")["learning"] == "paused", "the pause")
        assert live.get("/v1/status")["reason"] == "no such luck"
        assert live.versions("rollback") == []
        assert {row["version"] for row in live.get("/v1/retention")["retention"]} == {0}, "nor was its verdict kept"
        assert {live.fate(event)["state"] for event in events} == {"used"}
        broken = False
        live.post("/v1/learning/resume")
        live.until(lambda: {live.fate(event)["state"] for event in events} == {"set_aside"}, "the rollback")
        assert live.rest()["version"] == live.versions("rollback")[0]["version"]


HARMLESS = 1e-6  # share of the step
GUILTY = 3  # the turn whose step is a whole one


@pytest.fixture
def planted(reckless: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Five turns of four events each before anything is probed; one of them does the harm."""
    turns: list[int] = []

    def one(state: Any, events: Any, fresh: bool, around: Any) -> Any:
        turns.append(1)
        scale = 1.0 if len(turns) == GUILTY else HARMLESS
        return turn(state, events, fresh, replace(around, step_scale=scale))

    monkeypatch.setattr("service.teaching.turn", one)
    return merged(reckless, {"learn": {"max_uses": 1}, "probes": {"every": 100}})


def send_all(live: Live) -> list[str]:
    live.rest()
    live.post("/v1/learning/pause")
    events = [live.send(demonstration(number)) for number in range(20)]
    live.post("/v1/learning/resume")
    return events


def test_the_first_bad_version_is_named_and_what_came_before_it_stays(tmp_path: Path, planted: dict[str, Any]) -> None:
    where = ("--state-dir", str(tmp_path))
    with inside(tmp_path, planted) as live:
        assert cli("retention", "blame", "--json", "--url", live.url, *where) == []
        events = send_all(live)
        live.until(lambda: live.versions("rollback"), "the rollback")
        status = live.rest()
        rows, steps, back = live.versions(), live.versions("step"), live.versions("rollback")[0]
        assert len(steps) == 5 and back == rows[-1] and status["version"] == back["version"]
        guilty = steps[GUILTY - 1]
        before = next(row for row in rows if row["version"] == guilty["version"] - 1)
        assert back["sha256"] == before["sha256"] and f"first bad version is {guilty['version']}" in back["reason"]
        assert status["retention"]["known"]["verdict"] == "kept"
        assert {row["state"] for row in rows if row["version"] in range(guilty["version"], back["version"])} == {
            "rolled_back"
        }
        assert {row["state"] for row in rows if row["version"] < guilty["version"]} == {"published"}

        good, suspect, later = events[:8], events[8:12], events[12:]
        assert [live.fate(event)["state"] for event in good] == ["used"] * 8
        assert all("the suspect, used by version" in live.fate(event)["reason"] for event in suspect)
        assert all("taken back with version" in live.fate(event)["reason"] for event in later)

        named = live.get("/v1/retention/blame")["blame"]
        assert named == [
            {
                "version": back["version"],
                "target": before["version"],
                "first_bad": guilty["version"],
                "last_good": 0,
                "suites": ["known"],
                "events": [
                    {
                        "id": suspect[at],
                        "kind": "demonstration",
                        "input": {"messages": [{"role": "user", "content": f"zorp {8 + at}"}]},
                    }
                    for at in range(4)
                ],
                "at": back["created_at"],
                "reason": back["reason"],
            }
        ]
        assert live.store is not None
        stats = live.store.rows()[-1].stats
        assert list(stats) == ["first_bad", "last_good", "suites", "looked_at", "events"]
        assert stats["events"] == suspect and stats["looked_at"][str(before["version"])] == {"known": "kept"}
        assert cli("retention", "blame", "--json", "--url", live.url, *where) == named
        assert live.get("/v1/verify")["ok"]
    assert cli("retention", "blame", "--json", *where) == named


def test_an_interrupted_search_leaves_all_as_it_was_and_the_drop_is_found_again(
    tmp_path: Path, planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    search, begun, dropped = bisection.search, [], []

    def stuck(*arguments: Any) -> Slices[Any]:
        begun.append(1)
        try:
            while len(begun) == 1:
                time.sleep(0.01)
                yield
        finally:
            dropped.append(1)
        return (yield from search(*arguments))

    monkeypatch.setattr(bisection, "search", stuck)
    with inside(tmp_path, planted) as live:
        send_all(live)
        live.until(lambda: begun, "the search")
        rows = live.versions()
        assert live.chat().status_code == 200, "requests go between the slices of a search"
        assert live.versions() == rows and live.versions("rollback") == []
        assert {row["version"] for row in live.get("/v1/retention")["retention"]} == {0}
        more = [live.send(demonstration(number)) for number in range(20, 24)]
        live.post("/v1/learning/resume")  # drops the work in hand
        live.until(lambda: live.versions("rollback"), "the rollback")
        assert len(begun) == 2 and dropped
        kinds = [row["kind"] for row in live.versions()]
        assert kinds[: len(rows) + 1] == [*(row["kind"] for row in rows), "rollback"], "nothing was learned in between"
        live.until(lambda: live.fate(more[0])["used_in"], "learning to go on")
        assert live.rest()["version"] > live.versions("rollback")[0]["version"]
        assert len(live.get("/v1/retention/blame")["blame"]) == 1


def test_where_the_search_fails_the_last_good_version_is_gone_back_to(
    tmp_path: Path, planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> Slices[Any]:
        yield
        raise StateError("no such luck")

    monkeypatch.setattr(bisection, "search", fails)
    with inside(tmp_path, planted) as live:
        events = send_all(live)
        live.until(lambda: live.versions("rollback"), "the rollback")
        live.rest()
        rows = live.versions()
        assert rows[-1]["sha256"] == rows[0]["sha256"] and "first bad" not in rows[-1]["reason"]
        assert {live.fate(event)["state"] for event in events} == {"set_aside"}
        assert "used by versions 1 to" in live.fate(events[0])["reason"]
        assert live.get("/v1/retention/blame") == {"blame": []}
