"""The commands against a real daemon on loopback: what they say agrees with the API, and with the folder afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.address import Daemon
from service.cli.client import connect
from service.cli.feedback import await_idle
from service.cli.main import app

runner = CliRunner()
SETTINGS = """\
[search]
population = 4
[learn]
min_events = 2
batch = 2
max_uses = 2
holdout = 0.0
[probes]
every = 1000
suites = ["{suite}"]
"""


@dataclass(frozen=True)
class Served:
    """A daemon that runs on `folder`."""

    folder: Path
    url: str
    headers: dict[str, str]
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, headers=self.headers, timeout=120).raise_for_status().json()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def cli(*arguments: str, status: int = 0) -> Any:
    done = runner.invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments and done.stdout else done.stderr


def without_peak(status: dict[str, Any]) -> dict[str, Any]:
    """Peak memory grows between two looks; all else must agree."""
    return {**status, "memory": {**status["memory"], "peak_bytes": None}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("daemon")
    suite = place / "sums.jsonl"
    items = [{"prompt": f"What is {a}+{b}?", "answer": str(a + b)} for a in range(4) for b in range(4)]
    suite.write_text("".join(json.dumps(item) + "\n" for item in items))
    config, folder = place / "c.toml", place / "state"
    config.write_text(SETTINGS.format(suite=suite))
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0", "--device", "cpu"]
    command += ["--model", str(tiny_folder)]
    log = (place / "log").open("wb")
    process = subprocess.Popen(
        [*command, "--config", str(config), "--state-dir", str(folder)],
        stdout=log,
        stderr=log,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while True:
            assert process.poll() is None, (place / "log").read_text()
            try:
                url = json.loads((folder / "daemon.json").read_text())["url"]
                if httpx.get(url + "/readyz").is_success:
                    break
            except (OSError, json.JSONDecodeError, httpx.HTTPError):
                pass
            time.sleep(0.1)
        token = json.loads((folder / "tokens.json").read_text())["admin"]
        with connect(Daemon(url, token)) as client:
            await_idle(client)  # the anchor's probes
        yield Served(folder, url, {"Authorization": f"Bearer {token}"}, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def lessons(path: Path, count: int) -> Path:
    rows = [{"input": {"prompt": f"zorp {n} "}, "metric_name": "demonstration", "value": "yes"} for n in range(count)]
    rows.append({"input": {"prompt": "2+2="}, "grader": {"type": "numeric", "reference": 4}})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# The tests run in this order: each leaves the daemon as the next one expects it.


def test_both_ways_agree_with_the_api(served: Served) -> None:
    where = ("--state-dir", str(served.folder), "--json")
    assert without_peak(cli("status", *where)) == without_peak(served.get("/v1/status"))
    assert cli("versions", *where) == served.get("/v1/versions")["versions"]
    assert cli("retention", "log", *where) == served.get("/v1/retention")["retention"]


def test_a_repeat_sends_nothing_twice(served: Served, tmp_path: Path) -> None:
    file = lessons(tmp_path / "f.jsonl", 6)
    where = ("--state-dir", str(served.folder), "--json")
    first = cli("feedback", "send", str(file), "--wait", *where)
    assert (first["lines"], first["accepted"], first["repeated"], first["rejected"]) == (7, 7, 0, [])
    assert first["status"]["learning"] == "idle"
    again = cli("feedback", "send", str(file), *where)
    assert (again["accepted"], again["repeated"], again["ok"]) == (0, 7, True)
    assert len(served.get("/v1/feedback")["feedback"]) == 7
    steps = [row for row in cli("versions", *where) if row["kind"] == "step"]
    assert {event for row in steps for event in row["events"]} == {
        e["id"] for e in served.get("/v1/feedback")["feedback"]
    }


def test_a_refused_line_is_named_and_the_others_are_kept(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "g.jsonl"
    good = {"input": {"prompt": "x"}, "metric_name": "comment", "value": "fine"}
    bad = {"input": {"prompt": "x"}, "metric_name": "no-such", "value": 1}
    file.write_text("\n".join(map(json.dumps, (good, bad, {**good, "colour": 1}))))
    found = cli("feedback", "send", str(file), "--state-dir", str(served.folder), "--json", status=1)
    assert (found["accepted"], found["ok"]) == (1, False)
    assert [(r["line"], r["param"]) for r in found["rejected"]] == [(2, "metric_name"), (3, "colour")]


def test_probe_run_and_rollback_and_verify(served: Served) -> None:
    where = ("--state-dir", str(served.folder), "--json")
    newest = cli("status", *where)["version"]
    assert newest > 0
    done = runner.invoke(app, ["probe", "run", *where])
    rows = json.loads(done.stdout)
    assert {row["version"] for row in rows} == {newest}
    assert {row["suite"] for row in rows} >= {"sums"}
    assert any(row["suite"] == "sums" for row in cli("probe", "list", *where))
    assert cli("probe", "list", *where) == served.get("/v1/probes")["suites"]
    assert cli("retention", "show", str(newest), "--items", *where)["items"]
    made = cli("rollback", "0", *where)
    assert made["target"] == 0
    assert cli("status", *where)["version"] == made["version"]
    assert cli("diff", "0", str(made["version"]), *where)["same"] is True
    assert "does not exist" in cli("rollback", "99999", "--state-dir", str(served.folder), status=1)
    found = cli("verify", *where)
    assert list(found) == ["versions", "replayed", "mismatches", "compacted", "since", "base_sha256", "ok"]
    assert (found["ok"], found["mismatches"], found["replayed"]) == (True, 0, found["versions"])


def test_a_url_needs_the_token(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = ("--url", served.url, "--state-dir", str(tmp_path))
    assert "EDGE_ES_TOKEN" in cli("rollback", "0", *elsewhere, status=1)
    monkeypatch.setenv("EDGE_ES_TOKEN", served.headers["Authorization"].removeprefix("Bearer "))
    assert cli("versions", *elsewhere, "--json") == served.get("/v1/versions")["versions"]


def test_stopped_it_says_the_same(served: Served) -> None:
    where = ("--state-dir", str(served.folder), "--json")
    live = {
        **{name: cli(name, *where) for name in ("status", "versions", "verify")},
        "log": cli("retention", "log", *where),
    }
    assert served.stop() == 0
    assert not (served.folder / "daemon.json").exists()
    stopped = {
        **{name: cli(name, *where) for name in ("status", "versions", "verify")},
        "log": cli("retention", "log", *where),
    }
    assert {**stopped, "status": without_peak(stopped["status"])} == {**live, "status": without_peak(live["status"])}
