"""The commands on the state folder of a stopped daemon: the issue's shapes, and not a byte written by a reader."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es import ledger
from service import listings
from service.cli.main import app
from service.store import Store

from .state import event, fill, snapshot

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "state")


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    done = runner.invoke(app, [*arguments, "--state-dir", str(folder)])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done.stdout if status == 0 else done.stderr


def read(folder: Path, *arguments: str) -> Any:
    return json.loads(run(folder, *arguments, "--json"))


READERS = (
    ["status"],
    ["versions"],
    ["diff", "0", "2"],
    ["retention", "log"],
    ["retention", "blame"],
    ["retention", "show"],
    ["retention", "show", "0", "--items"],
    ["probe", "list"],
    ["token"],
)


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_readers_write_nothing_and_speak_both_ways(folder: Path, command: list[str]) -> None:
    before = snapshot(folder)
    for_people = run(folder, *command)
    assert for_people.strip()
    json.loads(run(folder, *command, "--json"))
    assert snapshot(folder) == before


def test_readers_work_on_a_folder_that_may_not_be_written(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anything")
    for path in (*folder.rglob("*"), folder):
        path.chmod(path.stat().st_mode & 0o555)
    assert read(folder, "status")["version"] == 2


def test_status_has_the_issue_s_shape(folder: Path) -> None:
    row = read(folder, "status")
    assert list(row) == [
        *("version", "model", "quantization", "device", "learning", "reason", "events", "memory", "retention")
    ]
    assert (row["version"], row["model"], row["quantization"], row["learning"]) == (2, "pocket", "nf4", "idle")
    assert row["events"] == {"pending": 0, "used": 3, "set_aside": 0, "review": 0}
    assert list(row["memory"]) == ["budget_bytes", "base_bytes", "peak_bytes", "batches_halved"]
    assert row["retention"] == {"add": {"score": 0.75, "anchor": 1.0, "retention": 0.75, "verdict": "dropped"}}


def test_status_shows_sizes_as_sizes_and_counts_as_counts(folder: Path) -> None:
    with Store(folder) as store:
        memory = {"budget_bytes": None, "base_bytes": 2**20, "peak_bytes": 2**21, "batches_halved": 3}
        store.put_setting("machine", {"device": "cpu", "memory": memory})
    lines = [line.split() for line in run(folder, "status").splitlines()]
    assert ["memory", "budget", "-,", "base", "1.0", "MiB,", "peak", "2.0", "MiB"] in lines
    assert ["batches", "halved", "3"] in lines


def test_versions_have_the_issue_s_shape_and_agree_with_the_listing(folder: Path) -> None:
    rows = read(folder, "versions")
    keys = "attempt version parent kind created_at events population fitness_mean fitness_reliability tie_rate"
    more = "novelty_share step_norm delta_norm walk_ratio sparsity sha256 state reason"
    assert list(rows[0]) == [*keys.split(), *more.split()]
    assert [(r["version"], r["state"]) for r in rows] == [
        *((0, "published"), (1, "published"), (None, "rejected"), (2, "published"))
    ]
    with Store.open_read_only(folder) as store:
        assert rows == listings.versions(store)


def test_retention_log_has_the_issue_s_shape(folder: Path) -> None:
    rows = read(folder, "retention", "log")
    keys = "version suite kind items score anchor retention ci_low ci_high verdict at"
    assert [list(row) for row in rows] == [keys.split()] * 4
    with Store.open_read_only(folder) as store:
        assert rows == listings.retention_log(store)


def test_retention_show_item_by_item(folder: Path) -> None:
    found = read(folder, "retention", "show", "--items")
    assert found["version"] == 2
    assert [row["kind"] for row in found["suites"]] == ["generation", "loglik"]
    assert found["items"][3] == {"suite": "add", "item": 3, "anchor": 1.0, "score": 0.0}
    assert "version 1 was not probed" in run(folder, "retention", "show", "1", status=1)


def test_retention_blame_names_the_events(folder: Path) -> None:
    assert read(folder, "retention", "blame") == []
    found = {"first_bad": 2, "last_good": 0, "suites": ["add"], "looked_at": {"1": {"add": "kept"}}}
    with Store(folder) as store:
        ledger.rollback(store, 1, "forgot", {**found, "events": [event(1).id, event(2).id]})
    before = snapshot(folder)
    rows = read(folder, "retention", "blame")
    assert list(rows[0]) == ["version", "target", "first_bad", "last_good", "suites", "events", "at", "reason"]
    assert (rows[0]["version"], rows[0]["target"], rows[0]["first_bad"]) == (3, 1, 2)
    assert rows[0]["events"] == [
        {"id": event(n).id, "kind": "demonstration", "input": {"messages": [{"role": "user", "content": f"q{n}"}]}}
        for n in (1, 2)
    ]
    lines = run(folder, "retention", "blame").splitlines()
    assert len(lines) == 3 and event(1).id in lines[1] and lines[2].rstrip().endswith("q2")
    assert snapshot(folder) == before


def test_retention_watch_ends_after_count(folder: Path) -> None:
    lines = run(folder, "retention", "watch", "--count", "4", "--every", "0.2", "--json").splitlines()
    assert [json.loads(line)["version"] for line in lines] == [0, 0, 2, 2]


def test_probe_list_has_suites_that_were_not_scored_yet(folder: Path) -> None:
    with Store(folder) as store:
        store.put_setting("suites", {"add": {"kind": "generation", "items": 4}, "sort": {"kind": "choice", "items": 7}})
    rows = read(folder, "probe", "list")
    assert [(row["suite"], row["kind"], row["items"], row["version"], row["verdict"]) for row in rows] == [
        ("add", "generation", 4, 2, "dropped"),
        ("add", "loglik", 4, 2, "dropped"),
        ("sort", "choice", 7, None, None),
    ]
    assert [list(row) for row in rows] == [list(rows[0])] * 3
    assert run(folder, "probe", "list").splitlines()[-1].split() == [
        "sort",
        "choice",
        "7",
        *"-----"[:4],
        "not",
        "scored",
        "yet",
    ]


def test_diff_counts_what_lies_between(folder: Path) -> None:
    found = read(folder, "diff", "0", "2")
    assert found["versions"] == [1, 2]
    assert found["events"] == [event(n).id for n in (0, 1, 2)]
    assert found["same"] is False
    assert found["retention"][0] == {"suite": "add", "kind": "generation", "a": 1.0, "b": 0.75}
    assert read(folder, "diff", "2", "0")["versions"] == [1, 2]
    assert "version 9 does not exist" in run(folder, "diff", "0", "9", status=1)


def test_rollback_appends_and_rewrites_nothing(folder: Path) -> None:
    before = read(folder, "versions")
    assert read(folder, "rollback", "0", "--reason", "it lied") == {"version": 3, "target": 0}
    after = read(folder, "versions")
    assert [row["version"] for row in after] == [0, 1, None, 2, 3]
    assert after[-1]["sha256"] == before[0]["sha256"]
    assert (after[-1]["kind"], after[-1]["reason"]) == ("rollback", "it lied")
    assert [row["state"] for row in after] == [*("published", "rolled_back", "rejected", "rolled_back", "published")]
    assert read(folder, "status")["version"] == 3
    assert read(folder, "diff", "0", "3")["same"] is True


def test_rollback_to_nowhere_changes_nothing(folder: Path) -> None:
    before = read(folder, "versions")
    assert "version 7 does not exist" in run(folder, "rollback", "7", status=1)
    assert "version 2 is the one that is served" in run(folder, "rollback", "2", status=1)
    assert "noise generator" in run(folder, "rollback", "1", status=1), "its steps do not replay"
    assert read(folder, "versions") == before


def test_writers_are_refused_while_a_daemon_holds_the_folder(folder: Path) -> None:
    with Store(folder):
        refused = run(folder, "rollback", "1", status=1)
        assert str(folder) in refused
        assert str(os.getpid()) in refused
        assert read(folder, "status")["version"] == 2


def test_what_needs_a_daemon_says_so(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "f.jsonl"
    lines.write_text("{}\n")
    for command in (["probe", "run"], ["feedback", "send", str(lines)]):
        assert "edge-es serve" in run(folder, *command, status=1)


def test_a_daemon_json_of_a_dead_or_foreign_process_is_not_believed(folder: Path) -> None:
    for pid in (0, -1, 2**22 + 1, os.getpid(), "1", None):
        (folder / "daemon.json").write_text(json.dumps({"pid": pid, "url": "http://127.0.0.1:9"}))
        assert read(folder, "status")["version"] == 2
    (folder / "daemon.json").write_text("{")
    assert "daemon.json" in run(folder, "status", status=1)


def test_a_dead_daemon_s_address_is_not_believed_whoever_answers_there(folder: Path) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        (folder / "daemon.json").write_text(json.dumps({"pid": 2**22 + 1, "url": url}))
        assert read(folder, "status")["version"] == 2
        server.shutdown()


def test_token_prints_the_one_that_was_asked_for(folder: Path) -> None:
    assert run(folder, "token") == "a" * 43 + "\n"
    assert run(folder, "token", "--chat") == "c" * 43 + "\n"
    assert read(folder, "token") == {"chat": "c" * 43, "admin": "a" * 43}
    (folder / "tokens.json").unlink()
    assert "edge-es serve" in run(folder, "token", status=1)


def test_the_environment_names_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_ES_STATE__DIR", str(folder))
    done = runner.invoke(app, ["status", "--json"])
    assert json.loads(done.stdout)["version"] == 2


def test_probe_add_checks_first_and_never_replaces(folder: Path, tmp_path: Path) -> None:
    suite = tmp_path / "sums.jsonl"
    suite.write_text('{"prompt": "1+1=", "answer": "2"}\n{"prompt": "1+2=", "answer": "3"}\n')
    found = read(folder, "probe", "add", str(suite))
    place = folder / "probes" / "sums.jsonl"
    told = {"suite": "sums", "kind": "generation", "items": 2, "file": str(place), "anchor": 0.0}
    assert found.items() >= told.items() and [row["right"] for row in found["preview"]] == ["2", "3"]
    assert place.read_bytes() == suite.read_bytes()
    assert read(folder, "probe", "add", str(suite)) == found
    listed = {row["suite"]: row["verdict"] for row in read(folder, "probe", "list")}
    assert listed == {"add": "dropped", "sums": None}
    suite.write_text('{"prompt": "1+1=", "answer": "3"}\n')
    assert "sums.jsonl" in run(folder, "probe", "add", str(suite), status=1)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "1+1=", "answer": "2"}\n{"prompt": 3}\n')
    assert "line 2" in run(folder, "probe", "add", str(bad), status=1)
    assert [path.name for path in (folder / "probes").iterdir()] == ["sums.jsonl"]
