"""What `edge-es doctor` finds wrong with a state folder, and how it says to mend it."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from edge_es.config import Config, ServeSection
from service import tokens
from service.cli.doctor import Check, examine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder as the daemon makes it."""
    found = tmp_path / "state"
    found.mkdir(mode=0o700)
    tokens.load_or_create(found)
    return found


def found(folder: Path, name: str, config: Config | None = None) -> Check:
    (check,) = [one for one in examine(config or Config(), folder) if one.name == name]
    return check


def test_a_folder_as_the_daemon_makes_it_is_fine(folder: Path) -> None:
    for name in ("state", "privacy", "tokens", "exposure"):
        assert found(folder, name).ok is True, found(folder, name)
    assert found(folder, "sqlite").ok is not False and found(folder, "device").ok is not False


def test_a_folder_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    for name in ("state", "privacy", "tokens", "space"):
        assert found(tmp_path / "none", name).ok is not False


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_others_who_may_write_to_the_folder(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    check = found(folder, "privacy")
    assert check.ok is False and f"chmod 700 {folder}" in check.remedy


def test_others_who_may_read_the_folder_are_worth_a_note(folder: Path) -> None:
    folder.chmod(0o755)
    assert found(folder, "privacy").ok is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_tokens_that_others_may_have_read(folder: Path, mode: int) -> None:
    (folder / "tokens.json").chmod(mode)
    check = found(folder, "tokens")
    assert check.ok is False and "chmod 600" in check.remedy and "token rotate" in check.remedy


@pytest.mark.parametrize("content", ["", "[]", '{"chat": "x"}', '{"chat": 1, "admin": 2}'])
def test_tokens_that_are_damaged(folder: Path, content: str) -> None:
    (folder / "tokens.json").write_text(content)
    assert found(folder, "tokens").ok is False


@pytest.mark.parametrize(("free", "ok"), [(2**20, False), (2**29, None), (2**33, True)])
def test_how_much_room_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, ok: bool | None) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 0, free))
    check = found(folder, "space")
    assert check.ok is ok
    assert ("make room" in check.remedy) == (ok is False)


def test_another_owners_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(folder)
    stat = folder.stat()
    as_other = os.stat_result((*stat[:4], stat.st_uid + 1, *stat[5:]))
    monkeypatch.setattr(Path, "stat", lambda path, **_: as_other if path == folder else os.stat(path))
    check = found(folder, "privacy")
    assert check.ok is False and "chown" in check.remedy


def test_a_daemon_that_others_can_reach_is_worth_a_note(folder: Path) -> None:
    check = found(folder, "exposure", Config(serve=ServeSection(host="0.0.0.0")))
    assert check.ok is None and "token" in check.detail
