"""Whom a command speaks to, and who is told the token."""

import json
import os
from pathlib import Path

import pytest

from edge_es.loopback import is_loopback
from service.cli.address import Daemon
from service.cli.target import find


def token(folder: Path, url: str) -> str | None:
    found = find(folder, url)
    assert isinstance(found, Daemon)
    return found.token


def test_the_folders_token_goes_to_its_own_daemon_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)
    (tmp_path / "tokens.json").write_text(json.dumps({"admin": "secret", "chat": "c"}))
    (tmp_path / "daemon.json").write_text(json.dumps({"pid": os.getpid(), "url": "http://192.0.2.7:8420"}))
    for url in ("http://127.0.0.1:8420", "http://localhost:1", "http://[::1]:8420/", "http://192.0.2.7:8420/"):
        assert token(tmp_path, url) == "secret", url
    for url in (
        "http://192.0.2.7:8421",
        "https://evil.example",
        "http://127.evil.example:8420",
        "http://127.0.0.1@evil.example",
        "http://localhost.evil.example",
        "http://[::1",
    ):
        assert token(tmp_path, url) is None, url
    monkeypatch.setenv("EDGE_ES_TOKEN", "given")
    assert token(tmp_path, "https://evil.example") == "given", "who names it means it"


def test_names_of_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("127.example.org", "0.0.0.0", "", "localhost.example")))
