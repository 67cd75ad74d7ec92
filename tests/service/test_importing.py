"""`edge-es feedback import` over HTTP: what is taken, what is known already, what is refused line by line."""

import json
from pathlib import Path
from typing import Any

import pytest
from echo_daemon import Daemon
from typer.testing import CliRunner

from service.cli.main import app

ROWS = [
    {"prompt": "2+2?", "answer": "4"},
    {"prompt": "2+2?", "answer": "5", "rating": False},
    {"prompt": "2+2?"},
    {"inference_id": "0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01", "rating": True},
    {"input": {"prompt": "2+2?"}, "grader": {"type": "numeric", "reference": 4}},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "rows.jsonl"
    made.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return made


def run(*arguments: Any, status: int = 0) -> Any:
    done = CliRunner().invoke(app, ["feedback", "import", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


def test_good_rows_are_taken_once_and_bad_ones_named(
    daemon: Daemon, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_ES_TOKEN", daemon.context.tokens.admin)
    asked = (file, "--from", "jsonl", "--url", daemon.url, "--json")
    first = run(*asked, status=1)
    assert (first["lines"], first["accepted"], first["repeated"]) == (5, 3, 0)
    assert [(one["line"], one["param"]) for one in first["rejected"]] == [(3, None), (4, "inference_id")]
    again = run(*asked, status=1)
    assert (again["accepted"], again["repeated"]) == (0, 3)
    assert len([*daemon.store.pending(100, 100), *daemon.store.held_out()]) == 3
    told = run(*asked[:-1], status=1)
    assert "line 3: nothing is said" in told and "line 4" in told and "0 accepted, 3 known already, 2 refused" in told


def test_a_dry_run_sends_nothing_and_needs_no_daemon(file: Path) -> None:
    found = run(file, "--from", "jsonl", "--dry-run", "--json", status=1)
    assert [one["line"] for one in found["events"]] == [1, 2, 4, 5]
    assert [one["line"] for one in found["unmapped"]] == [3] and not found["ok"]
    assert "4 events, 1 rows that say none; nothing was sent" in run(file, "--from", "jsonl", "--dry-run", status=1)


def test_what_makes_no_sense_is_a_usage_error(file: Path) -> None:
    assert "--traces" in run(file, "--from", "jsonl", "--traces", file, "--dry-run", status=2)
    assert "excel" in run(file, "--from", "excel", status=2)
    file.write_text("[{")
    assert f"{file}: no JSON" in run(file, "--from", "openwebui", "--dry-run", status=1)
