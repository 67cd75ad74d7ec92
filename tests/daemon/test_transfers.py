"""Export and import of a real daemon that learned something, running and stopped, by the API and by the commands."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_es.export import read_delta, read_peft
from edge_es.model import Base
from service.daemon import write_note
from tests.cli.state import snapshot
from tests.daemon.live import Live, cli, demonstration, inside


@pytest.fixture(scope="module")
def taught(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with inside(tmp_path_factory.mktemp("taught") / "state", tree) as live:
        live.rest()
        for number in range(6):
            live.send(demonstration(number))
        assert live.rest()["version"] > 2
        write_note(live.folder, live.url)  # for the commands, as `edge-es serve` does
        yield live


def base_of(live: Live) -> Base:
    assert live.engine is not None
    return live.engine.base


def files(folder: Path) -> dict[str, str]:
    """Name -> hash, but for the note, which names the folder's own version."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_a_running_daemon_exports_and_goes_on(taught: Live, tmp_path: Path) -> None:
    newest = taught.get("/v1/status")["version"]
    made = cli("export", "peft", str(tmp_path / "a"), "--state-dir", str(taught.folder), "--json")
    assert (made["kind"], made["version"], made["path"]) == ("peft", newest, str(tmp_path / "a"))
    assert sorted(files(tmp_path / "a")) == made["files"]
    assert not list((taught.folder / "exports").iterdir())  # it was moved, not copied
    again = read_peft(base_of(taught), tmp_path / "a")
    assert taught.engine is not None
    here = taught.engine._learning().state.delta
    for name, (a, b) in here.merged.items():
        if b.any():
            a2, b2 = again.merged[name]
            torch.testing.assert_close(b2.T @ a2, b.T @ a, atol=1e-5, rtol=1e-4)
    assert taught.chat().status_code == 200
    assert "not empty" in cli("export", "peft", str(tmp_path / "a"), "--state-dir", str(taught.folder), status=1)


def test_an_earlier_version_by_number(taught: Live, tmp_path: Path) -> None:
    made = taught.post("/v1/export", {"kind": "delta", "name": "two", "version": 2})
    assert (made["version"], made["path"]) == (2, str(taught.folder / "exports" / "two"))
    row = next(row for row in taught.versions() if row["version"] == 2)
    assert read_delta(Path(made["path"])).delta.sha256 == row["sha256"]
    where = ("--state-dir", str(taught.folder))
    assert "version 99 does not exist" in cli(
        "export", "delta", str(tmp_path / "x"), "--version", "99", *where, status=1
    )


def test_an_import_of_a_second_daemon_replays_and_rolls_back(
    taught: Live, tree: dict[str, Any], tmp_path: Path
) -> None:
    """The adapter of the first as what the second goes on from: served, verified, learned on from, taken back."""
    cli("export", "peft", str(tmp_path / "a"), "--state-dir", str(taught.folder), "--json")
    cli("export", "delta", str(tmp_path / "d"), "--state-dir", str(taught.folder), "--json")
    state = tmp_path / "second" / "state"
    where = ("--state-dir", str(state), "--json")
    learning = {**tree, "probes": {**tree["probes"], "tolerance": 0.99}}  # what a random model forgets says nothing
    with inside(state, learning) as live:
        note = write_note(live.folder, live.url)
        live.rest()
        before = live.chat("zorp 1").json()["choices"][0]["message"]["content"]
        made = cli("import", "peft", str(tmp_path / "a"), *where)
        assert (made["version"], made["kind"]) == (1, "peft")
        assert [row["kind"] for row in live.versions()] == ["anchor", "import"]
        cli("export", "delta", str(tmp_path / "nothing"), "--version", "0", *where)
        refused = cli("import", "delta", str(tmp_path / "nothing"), *where, status=1)
        assert "has learned nothing" in refused and "imports" not in refused
        (tmp_path / "broken").mkdir()
        refused = cli("import", "delta", str(tmp_path / "broken"), *where, status=1)
        assert f"{tmp_path / 'broken'} holds no export" in refused and "imports" not in refused
        assert "rollback 0" in cli("import", "peft", str(tmp_path / "a"), *where, status=1)
        assert not list((state / "imports").iterdir())  # what was copied there is gone
        assert live.get("/v1/verify")["ok"] is True
        for number in range(10, 16):
            live.send(demonstration(number))
        assert live.rest()["version"] > 2  # learning goes on from it
        assert live.get("/v1/verify")["ok"] is True
        live.post("/v1/rollback", {"version": 0})
        assert live.chat("zorp 1").json()["choices"][0]["message"]["content"] == before
        note.unlink()
    # stopped: the same on the folder, of kind delta, and nothing is written by an export
    made = cli("import", "delta", str(tmp_path / "d"), *where)
    held = snapshot(state)
    cli("export", "delta", str(tmp_path / "d2"), *where)
    assert cli("export", "peft", str(tmp_path / "a2"), *where)["version"] == made["version"]
    cli("export", "merged", str(tmp_path / "m"), *where)
    cli("export", "peft", str(tmp_path / "a1"), "--version", "1", *where)
    assert snapshot(state) == held
    proven = read_delta(tmp_path / "d2")
    assert proven.delta.sha256 == read_delta(tmp_path / "d").delta.sha256 == made["sha256"]
    assert cli("verify", *where)["ok"] is True
    assert cli("rollback", "0", *where)["target"] == 0
    assert json.loads((tmp_path / "a2" / "edge-es.json").read_text())["version"] == made["version"]
