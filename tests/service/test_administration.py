"""Status, versions, retention, rollback, events: the shapes that scripts rely on, the same with the daemon stopped."""

import json
import random
import subprocess
import sys
import threading
import uuid
from typing import Any

import httpx
import pytest
from echo_daemon import Daemon, refused, use
from stored import fill_disk, free_disk

from edge_es import ledger
from service import listings, news, sse
from service.store import Store


def test_status_has_the_stated_shape(daemon: Daemon) -> None:
    daemon.client.post("/v1/probes/run")
    assert daemon.client.get("/v1/status").json() == {
        "version": 0,
        "model": "pocket",
        "quantization": "nf4",
        "device": "cpu",
        "learning": "idle",
        "reason": None,
        "events": {"pending": 0, "used": 0, "set_aside": 0, "review": 0},
        "memory": {"budget_bytes": None, "base_bytes": 1000, "peak_bytes": 2000, "batches_halved": 0},
        "retention": {"capitals": {"score": 0.75, "anchor": 1.0, "retention": 0.75, "verdict": "kept"}},
    }


def test_versions_have_the_stated_shape_and_their_states(daemon: Daemon) -> None:
    store = daemon.store
    use(store, [])
    stats = {"fitness_mean": 0.5, "step_norm": 1.0, "sparsity": 0.0}
    store.append(ledger.Row(2, None, 1, "step", "t", population=8, stats=stats, reason="ties"), {})
    assert daemon.client.post("/v1/rollback", json={"version": 0}).json() == {"version": 2, "target": 0}
    rows = daemon.client.get("/v1/versions").json()["versions"]
    assert list(rows[0]) == [
        "attempt", "version", "parent", "kind", "created_at", "events", "population", "fitness_mean",
        "fitness_reliability", "tie_rate", "novelty_share", "step_norm", "delta_norm", "walk_ratio", "sparsity",
        "sha256", "state", "reason",
    ]  # fmt: skip
    assert [(row["attempt"], row["version"], row["kind"], row["state"]) for row in rows] == [
        (0, 0, "anchor", "published"),
        (1, 1, "step", "rolled_back"),
        (2, None, "step", "rejected"),
        (3, 2, "rollback", "published"),
    ]
    assert (rows[2]["population"], rows[2]["fitness_mean"], rows[2]["tie_rate"], rows[2]["reason"]) == (
        8,
        0.5,
        None,
        "ties",
    )
    assert rows[3]["reason"] == "asked for over the API"


def test_retention_has_the_stated_shape_and_filters(daemon: Daemon) -> None:
    daemon.client.post("/v1/probes/run")
    use(daemon.store, [])
    probed = daemon.client.post("/v1/probes/run").json()["retention"]
    assert {row["version"] for row in probed} == {1}
    rows = daemon.client.get("/v1/retention").json()["retention"]
    assert list(rows[0]) == [
        "version", "suite", "kind", "items", "score", "anchor", "retention", "ci_low", "ci_high", "verdict", "at"
    ]  # fmt: skip
    assert [(row["version"], row["kind"]) for row in rows] == [
        (0, "generation"), (0, "loglik"), (1, "generation"), (1, "loglik")
    ]  # fmt: skip
    assert len(daemon.client.get("/v1/retention", params={"version": 1}).json()["retention"]) == 2
    assert daemon.client.get("/v1/retention", params={"suite": "other"}).json() == {"retention": []}
    items = daemon.client.get("/v1/retention", params={"version": 1, "items": "true"}).json()["items"]
    assert items[1] == {"suite": "capitals", "item": 1, "anchor": 0.5, "score": 0.5}
    refused(daemon.client.get("/v1/retention", params={"items": "true"}), 400, "version")
    refused(daemon.client.get("/v1/retention", params={"version": "one"}), 422, "version")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 422, "version"),
        ({"version": "0"}, 422, "version"),
        ({"version": -1}, 422, "version"),
        ({"version": True}, 422, "version"),
        ({"version": 0.5}, 422, "version"),
        ({"version": 7}, 404, "version"),
        ({"version": 0, "force": True}, 422, "force"),
        ({"version": 0, "reason": ""}, 422, "reason"),
        ({"version": 0}, 409, "version"),  # the one that is served
    ],
)
def test_a_rollback_to_nowhere_is_refused(daemon: Daemon, body: dict[str, Any], status: int, param: str) -> None:
    refused(daemon.client.post("/v1/rollback", json=body), status, param)
    assert len(daemon.store.rows()) == 1


def test_pausing_says_why_and_resuming_clears_it(daemon: Daemon) -> None:
    paused = {"learning": "paused", "reason": "exam week"}
    assert daemon.client.post("/v1/learning/pause", json={"reason": "exam week"}).json() == paused
    assert daemon.client.get("/v1/status").json()["reason"] == "exam week"
    assert daemon.client.post("/v1/learning/resume").json() == {"learning": "idle", "reason": None}
    assert daemon.client.post("/v1/learning/pause").json()["reason"]
    refused(daemon.client.post("/v1/learning/pause", json={"why": "x"}), 422, "why")
    refused(daemon.client.post("/v1/learning/resume", json={"reason": "x"}), 422, "reason")


def test_a_rollback_on_a_full_disk_says_so(daemon: Daemon) -> None:
    use(daemon.store, [])
    fill_disk(daemon.store)
    reason = random.Random(0).randbytes(20_000).hex()  # is not to be deflated much
    error = refused(daemon.client.post("/v1/rollback", json={"version": 0, "reason": reason}), 507, code="disk_full")
    assert error["param"] is None
    free_disk(daemon.store)


def test_verify_gives_its_row(daemon: Daemon) -> None:
    found = daemon.client.get("/v1/verify").json()
    assert found.keys() == {"versions", "replayed", "mismatches", "compacted", "since", "base_sha256", "ok"}


def test_the_folder_tells_the_same_as_the_api(daemon: Daemon) -> None:
    use(daemon.store, [])
    daemon.client.post("/v1/probes/run")
    daemon.client.post("/v1/learning/pause", json={"reason": "exam week"})
    status = daemon.client.get("/v1/status").json()
    daemon.store.put_setting("machine", {"device": status["device"], "memory": status["memory"]})
    with Store.open_read_only(daemon.store.folder) as reader:
        assert listings.status(reader) == status
        assert listings.versions(reader) == daemon.client.get("/v1/versions").json()["versions"]
        assert listings.blame(reader) == daemon.client.get("/v1/retention/blame").json()["blame"] == []
        assert listings.retention_log(reader) == daemon.client.get("/v1/retention").json()["retention"]


# events


def test_events_are_streamed_as_they_happen_and_the_listener_leaves(daemon: Daemon) -> None:
    with daemon.client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines) == ": ping"
        daemon.client.post("/v1/learning/pause", json={"reason": "naïve"})
        found = [next(lines) for _ in range(5)]
        assert found[1].startswith("id: ") and found[2] == "event: learning"
        assert json.loads(found[3].removeprefix("data: ")) == {"learning": "paused", "reason": "naïve"}
        assert len(daemon.context.news.readers) == 1
    for _ in range(100):
        if not daemon.context.news.readers:
            break
        threading.Event().wait(0.05)
    assert daemon.context.news.readers == []


def test_a_quiet_stream_pings(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PING_SECONDS", 0.05)
    with daemon.client.stream("GET", "/v1/events") as response:
        lines = (line for line in response.iter_lines() if line)
        assert [next(lines) for _ in range(3)] == [": ping"] * 3


def test_a_reader_that_falls_behind_is_cut_off(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "BACKLOG", 2)
    with daemon.client.stream("GET", "/v1/events") as response:
        lines = response.iter_lines()
        next(lines)
        for number in range(2000):  # far more than the sockets buffer
            daemon.engine.tell("version", {"version": number, "note": "x" * 5000})
        assert sum(line.startswith("event") for line in lines) < 2000


# metrics


def test_metrics_count_requests_by_route_and_show_the_status(daemon: Daemon) -> None:
    daemon.client.post("/v1/probes/run")
    for name in (uuid.UUID(int=1), uuid.UUID(int=2)):
        daemon.client.get(f"/v1/feedback/{name}")
    daemon.stranger.post("/v1/completions", json={"model": "pocket", "prompt": "abc"})
    daemon.client.post("/v1/feedback", json={"input": {"prompt": "a"}, "metric_name": "demonstration", "value": "b"})
    text = daemon.stranger.get("/metrics").text
    for line in (
        'edge_es_requests_total{method="GET",route="/v1/feedback/{event_id}",status="404"} 2.0',
        'edge_es_feedback_total{kind="demonstration"} 1.0',
        "edge_es_prompt_tokens_total 3.0",
        "edge_es_completion_tokens_total 4.0",
        "edge_es_first_token_seconds_count 1.0",
        "edge_es_version 0.0",
        'edge_es_learning{state="idle"} 1.0',
        'edge_es_retention{suite="capitals"} 0.75',
        'edge_es_memory_bytes{kind="base"} 1000.0',
        'edge_es_device_seconds_total{use="learning"} 2.5',
        "edge_es_batches_halved_total 0.0",
    ):
        assert line in text.splitlines()
    assert 'kind="batches_halved"' not in text, "it is no size"


def test_two_applications_do_not_share_metrics(serving: Any, daemon: Daemon) -> None:
    from service.app import create_app

    other = create_app(daemon.context.config, daemon.store, daemon.engine)
    daemon.stranger.get("/healthz")
    assert "healthz" not in other.state.context.metrics.exposition().decode()


# imports


@pytest.mark.parametrize(
    "module",
    ["service.store", "service.listings", "service.app", "service.daemon", "service.resolve", "edge_es.ledger"],
)
def test_nothing_but_the_engine_imports_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit(sum(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_listing_over_a_real_connection_keeps_it_open(daemon: Daemon) -> None:
    with httpx.Client(base_url=daemon.url, trust_env=False, headers=dict(daemon.client.headers)) as client:
        for _ in range(3):
            assert client.get("/v1/versions").json()["versions"][0]["version"] == 0
