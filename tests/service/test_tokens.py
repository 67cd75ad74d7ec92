"""New tokens for old: the running daemon takes them at once, and nothing half-written opens or closes a door."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest
from echo_daemon import Daemon, refused
from typer.testing import CliRunner

from edge_es.errors import ConfigError, StateError
from service import tokens
from service.cli.main import app
from service.daemon import listen
from service.tokens import Keyring, Tokens, matches


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_rotation_reaches_the_running_daemon(daemon: Daemon) -> None:
    before = daemon.context.tokens
    where = ("--state-dir", str(daemon.store.folder))
    done = CliRunner().invoke(app, ["token", "rotate", *where, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"rotated": ["chat", "admin"], "daemon": None}
    shown = json.loads(CliRunner().invoke(app, ["token", *where, "--json"]).stdout)
    after = Tokens(**shown)
    assert len({before.chat, before.admin, after.chat, after.admin}) == 4
    assert before.admin not in done.output and after.admin not in done.output
    refused(daemon.client.get("/v1/status"), 401, "Authorization")
    assert daemon.stranger.get("/v1/status", headers=bearer(after.admin)).status_code == 200
    refused(daemon.stranger.get("/v1/status", headers=bearer(after.chat)), 403)
    path = daemon.store.folder / tokens.FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in daemon.store.folder.glob("tokens.json*")] == [tokens.FILE]


def test_rotation_needs_a_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["token", "rotate", "--state-dir", str(tmp_path / "none")])
    assert done.exit_code == 1 and "no state folder" in done.stderr


@pytest.mark.parametrize("damage", ["", "{", '{"chat": "", "admin": ""}', None])
def test_a_file_that_breaks_while_running_opens_nothing_and_closes_nothing(
    daemon: Daemon, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = daemon.store.folder / tokens.FILE
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert daemon.client.get("/v1/status").status_code == 200
    refused(daemon.stranger.get("/v1/status", headers=bearer("x")), 401)
    assert [record.name for record in caplog.records if record.levelname == "WARNING"].count("service.tokens") == 1
    made = tokens.rotate(daemon.store.folder)
    refused(daemon.client.get("/v1/status"), 401)
    assert daemon.stranger.get("/v1/status", headers=bearer(made.admin)).status_code == 200


def test_a_rotation_that_fails_leaves_the_former_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring(tmp_path)
    before = keyring.tokens()

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StateError, match="No space left on device"):
        tokens.rotate(tmp_path)
    assert keyring.tokens() == before
    assert [found.name for found in tmp_path.iterdir()] == [tokens.FILE]


def test_a_mode_that_others_can_read_is_mended(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    path = tmp_path / tokens.FILE
    path.chmod(0o644)
    keyring.tokens()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append(expected)
        return given == expected

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    assert matches("b", "a", "b", "c") and not matches("d", "a", "b", "c")
    assert compared == [b"a", b"b", b"c"] * 2


def test_beyond_loopback_it_does_not_start_without_tokens(tmp_path: Path) -> None:
    (tmp_path / tokens.FILE).write_text("{}")
    done = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--port", "0", "--state-dir", str(tmp_path)])
    assert done.exit_code == 1 and "token rotate" in done.stderr and done.stderr.count("\n") == 1


def test_a_loopback_name_that_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConfigError, match="not loopback"):
        listen("localhost", 0)
