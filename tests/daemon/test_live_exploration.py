"""Live exploration over real HTTP: members answer, their answers are rated, and the ratings are a step."""

from pathlib import Path
from typing import Any

import pytest

from edge_es import ledger
from edge_es.answers import Row, Sampling
from edge_es.decode import generate
from edge_es.exploration import STEP, again
from edge_es.feedback import Drawn
from edge_es.model import encode_prompt
from edge_es.slices import run
from tests.daemon.live import Live, demonstration, inside, merged

LIVE = {"search": {"exploration": "live", "live_sigma": 0.3}, "gates": {"max_tie_rate": 1.0}}


def drawn(live: Live, answer: dict[str, Any]) -> Drawn | None:
    """The member in the record of an answer."""
    assert live.store is not None
    completion = live.store.completion(answer["id"])
    assert completion is not None and answer["system_fingerprint"] == f"edge-es-v{completion.version}"
    return completion.member


def taught(live: Live) -> int:
    """The version after some lessons: there is a basis."""
    for number in range(4):
        live.send(demonstration(number))
    version = live.rest()["version"]
    assert live.versions("basis")
    return int(version)


def rate(live: Live, answer: dict[str, Any], value: bool) -> str:
    return live.send({"inference_id": answer["id"], "metric_name": "thumbs", "value": value})


@pytest.fixture(scope="module")
def settings(tree: dict[str, Any]) -> dict[str, Any]:
    return merged(tree, LIVE)


def test_members_answer_and_their_ratings_are_a_step(tmp_path: Path, settings: dict[str, Any]) -> None:
    with inside(tmp_path, settings) as live:
        assert live.store is not None and live.engine is not None
        assert drawn(live, live.chat("before there is a basis").json()) is None
        version = taught(live)
        answers = [live.chat(f"question {i}", max_tokens=12).json() for i in range(8)]
        members = [drawn(live, answer) for answer in answers]
        assert [(m.pair, m.sign) for m in members if m] == [(p, s) for p in range(4) for s in (1, -1)]
        assert {answer["system_fingerprint"] for answer in answers} == {f"edge-es-v{version}"}
        steps = len(live.versions("step"))
        early = [rate(live, answer, i % 3 == 0) for i, answer in enumerate(answers[:-1])]
        live.rest()
        assert len(live.versions("step")) == steps, "they wait for company, and no turn takes them"
        assert {live.fate(event)["state"] for event in early} == {"pending"}
        last = rate(live, answers[-1], True)
        live.rest()
        row = live.store.rows()[-1]
        assert row.kind == "step" and row.step == STEP and row.pairs == (0, 1, 2, 3)
        assert row.version == version + 1 and set(row.events) == {*early, last}
        assert {live.fate(event)["state"] for event in row.events} == {"used"}
        assert [live.fate(last)["used_in"], len(live.versions("step"))] == [[row.version], steps + 1]
        assert live.engine.verify().result()["ok"]

        # Whoever reads the record can give the answer again.
        then = ledger.rebuild(live.store, version)
        for number in (0, 3):
            member = members[number]
            completion = live.store.completion(answers[number]["id"])
            assert member is not None and completion is not None
            prompt = encode_prompt(live.engine.base, completion.prompt)
            same = run(generate(live.engine.base, [Row(prompt, again(then, member), Sampling(12))]))[0]
            assert same.text == completion.answers[0].text

        # The next version has members of its own; one answer to be repeated, or one of several, is the version's.
        fresh = drawn(live, live.chat().json())
        assert fresh is not None and fresh.pair >= 4 and fresh.family == members[0].family  # type: ignore[union-attr]
        assert drawn(live, live.chat(seed=5).json()) is None
        assert drawn(live, live.chat(n=2).json()) is None
        live.post("/v1/learning/pause", {"reason": "a test"})
        assert drawn(live, live.chat().json()) is None, "nobody would learn from it"
        seen = fresh.pair
    with inside(tmp_path, settings) as live:
        live.post("/v1/learning/resume")
        live.rest()
        member = drawn(live, live.chat().json())
        assert member is not None and member.pair > seen, "no pair is drawn twice, over restarts too"


def test_ratings_of_a_basis_that_is_gone_serve_the_turns(tmp_path: Path, settings: dict[str, Any]) -> None:
    with inside(tmp_path, settings) as live:
        taught(live)
        waiting = [rate(live, live.chat(f"question {i}").json(), i % 2 == 0) for i in range(4)]
        live.rest()
        assert {live.fate(event)["state"] for event in waiting} == {"pending"}
    with inside(tmp_path, merged(settings, {"search": {"exploration": "off"}})) as live:
        live.rest()
        used = [live.fate(event) for event in waiting]
        assert {fate["state"] for fate in used} == {"used"}
        assert live.store is not None and not any(row.pairs for row in live.store.rows())


def test_members_that_are_too_far_off_do_not_answer(tmp_path: Path, settings: dict[str, Any]) -> None:
    with inside(tmp_path, merged(settings, {"gates": {"canary_kl": 1e-9}})) as live:
        live.rest()
        for number in range(4):
            live.send(demonstration(number))
        live.rest()
        assert live.versions("basis") and drawn(live, live.chat().json()) is None
        assert live.rest()["reason"] is None


def test_off_by_default(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, tree) as live:
        taught(live)
        answers = [live.chat(f"question {i}").json() for i in range(3)]
        assert [drawn(live, answer) for answer in answers] == [None] * 3
        event = rate(live, answers[0], True)
        live.rest()
        assert live.store is not None and live.store.get_setting("live_pairs") is None
        assert live.store.query("SELECT id FROM events WHERE family IS NOT NULL") == []
        assert "member" not in live.store.query("SELECT event FROM events WHERE id = ?", event)[0]["event"]
