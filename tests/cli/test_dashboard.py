"""`edge-es dashboard`, `retention plot`, `retention watch`: on a folder at rest, and on a daemon that serves."""

import hashlib
import json
import re
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edge_es.errors import StateError
from service.cli import dashboard, retention_plot, retention_watch
from service.cli.address import Daemon
from service.cli.main import app
from tests.cli.state import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "state")


def run(*arguments: str, status: int = 0) -> Any:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done


def test_a_stopped_daemon_has_no_dashboard(folder: Path) -> None:
    assert "edge-es serve" in run("dashboard", "--state-dir", str(folder), status=1).stderr


def test_the_token_stands_in_the_fragment_and_in_no_process_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)
    url = "http://127.0.0.1:8420"
    row = json.loads(run("dashboard", "--url", url, "--state-dir", str(folder), "--json").stdout)
    assert row == {"url": f"{url}/#token={'a' * 43}", "token": True, "opened": True}
    (door,) = [Path(one.removeprefix("file://")) for one in opened]
    assert "a" * 43 not in opened[0] and door.stat().st_mode & 0o777 == 0o600
    assert f"url={url}/#token={'a' * 43}" in door.read_text()
    printed = run("dashboard", "--url", url, "--state-dir", str(folder), "--no-browser").stdout
    assert printed.strip() == f"{url}/#token={'a' * 43}" and len(opened) == 1


def test_without_a_token_it_is_opened_to_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)
    done = run("dashboard", "--url", "http://127.0.0.1:8420", "--state-dir", str(tmp_path))
    assert opened == ["http://127.0.0.1:8420/"] and "no admin token" in done.stderr
    assert dashboard.address(Daemon("http://h", "t")) == "http://h/#token=t"


def test_retention_is_drawn_as_png_and_svg_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "kept"
    digests = []
    for _ in range(2):
        found = json.loads(run("retention", "plot", str(out), "--state-dir", str(folder), "--json").stdout)
        assert found["files"] == [f"{out}.png", f"{out}.svg"]
        digests.append([hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in found["files"]])
    assert digests[0] == digests[1]
    assert out.with_name("kept.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in out.with_name("kept.svg").read_text()
    unknown = run("retention", "plot", str(out), "--suite", "nope", "--state-dir", str(folder), status=1)
    assert "no suite 'nope'" in unknown.stderr and "add" in unknown.stderr


def test_a_learned_suite_of_few_items_does_not_flatten_the_others() -> None:
    sure = {"retention": 0.99, "ci_low": 0.98, "ci_high": 1.0}
    lines = {"add": [sure], "learned-task": [{"retention": 1.0, "ci_low": 0.2, "ci_high": None}]}
    assert retention_plot.limits(lines, learned=False) == pytest.approx((0.89, 1.03))
    assert retention_plot.limits(lines, learned=True) == pytest.approx((0.19, 1.03))


def test_a_picture_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("retention", "plot", str(tmp_path / "file" / "kept"), "--state-dir", str(folder), status=1)
    assert "kept cannot be written: " in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_a_place_for_the_door_the_token_stays_out_of_the_list_of_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)
    (folder / dashboard.DOOR).mkdir()
    address = f"http://127.0.0.1:8420/#token={'a' * 43}"
    assert run("dashboard", "--url", "http://127.0.0.1:8420", "--state-dir", str(folder)).stdout.strip() == address
    monkeypatch.setenv("EDGE_ES_TOKEN", "a" * 43)
    nowhere = str(folder / "nowhere")
    assert run("dashboard", "--url", "http://127.0.0.1:8420", "--state-dir", nowhere).stdout.strip() == address
    assert opened == []


def test_the_colours_are_the_pages() -> None:
    style = (Path(dashboard.__file__).parents[1] / "dashboard" / "style.css").read_text()
    light = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", style.partition("@media")[0]))
    for name in ("ink", "muted", "line", "accent", "bad"):
        assert light[name] == getattr(retention_plot, name.upper())


def test_watch_tells_each_result_once(folder: Path) -> None:
    done = run("retention", "watch", "--count", "4", "--state-dir", str(folder))
    assert len(done.stdout.splitlines()) == 4 and "dropped" in done.stdout
    rows = run("retention", "watch", "--count", "2", "--json", "--state-dir", str(folder)).stdout.splitlines()
    assert [json.loads(row)["version"] for row in rows] == [0, 0]

    def looks() -> Iterator[list[dict[str, Any]]]:
        row = {"version": 1, "suite": "a", "kind": "choice", "at": "t"}
        yield from ([row], [row], [row, {**row, "at": "u"}])

    assert [row and row["at"] for row in retention_watch.fresh(looks())] == ["t", None, None, "u", None]


def test_watch_waits_for_a_daemon_that_starts_anew() -> None:
    looks = iter([1, StateError("no daemon answers"), StateError("no daemon answers"), 2])

    def look() -> int:
        found = next(looks)
        if isinstance(found, StateError):
            raise found
        return found

    seen = retention_watch.patient(look, 0.0)
    assert [next(seen), next(seen)] == [1, 2]

    def refused() -> int:
        raise StateError("there is no state folder")

    with pytest.raises(StateError):
        next(retention_watch.patient(refused, 0.0))


def test_the_live_table_shows_the_newest_and_its_past() -> None:
    ends = {"ci_low": 0.9, "ci_high": 1.0, "at": "t"}
    rows = [
        {"version": v, "suite": "add", "kind": "generation", "retention": r, "verdict": w, **ends}
        for v, r, w in ((0, 1.0, "kept"), (5, 0.96, "suspect"), (9, 0.5, "dropped"))
    ]
    status = {"model": "pocket", "version": 9, "learning": "idle"}
    console = Console(width=120)
    with console.capture() as said:
        console.print(retention_watch.table(rows, status, datetime(2026, 1, 1, tzinfo=UTC)))
    text = said.get()
    assert "pocket · version 9 · idle" in text and "0.500" in text and "dropped" in text and "█▅▁" in text
