"""Which daemon a command speaks of: a running one, by its API, or the state folder of a stopped one.

Knows `daemon.json` and `tokens.json` in the state folder; knows nothing of what the commands do with them.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_es.errors import StateError
from service.cli.address import Daemon

TOKEN_VARIABLE = "EDGE_ES_TOKEN"


@dataclass(frozen=True)
class Folder:
    """The state folder of a daemon that does not run."""

    path: Path


Target = Daemon | Folder


def state_folder(state_dir: Path | None) -> Path:
    """`--state-dir`, else the configured folder, else the user's data folder. Nothing is created."""
    if state_dir is not None:
        return state_dir
    from edge_es.config import load
    from service.store import state_folder as configured

    return configured(load())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a small JSON file; None where there is no file. Raises StateError when it is broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StateError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise StateError(f"{path} holds no JSON object; stop the daemon and delete it, the next start writes a new one")
    return value


def admin_token(folder: Path | None) -> str | None:
    """$EDGE_ES_TOKEN, else the admin token of `tokens.json` in the folder, else None."""
    given = os.environ.get(TOKEN_VARIABLE)
    if given:
        return given
    tokens = read_json(folder / "tokens.json") if folder else None
    return tokens.get("admin") if tokens else None


def _lives(pid: Any) -> bool:
    """True where a process of this id exists, whoever owns it."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def live_url(folder: Path) -> str | None:
    """The address of the daemon that runs on this folder; None where none answers there."""
    note = read_json(folder / "daemon.json")
    if note is None or not _lives(note.get("pid")) or not isinstance(note.get("url"), str):
        return None
    from service.cli.client import answers

    url: str = note["url"]
    return url if answers(url) else None


def _is_own(url: str, folder: Path) -> bool:
    """Whether the folder's token may be sent there."""
    from urllib.parse import urlsplit

    from edge_es.loopback import is_loopback

    try:
        host = urlsplit(url).hostname
    except ValueError:  # no address: whoever asks there says so
        return False
    note = read_json(folder / "daemon.json") or {}
    return is_loopback(host or "") or url == note.get("url")


def running(state_dir: Path | None, url: str | None) -> Daemon:
    """As `find`, for what only a running daemon can do. Raises StateError where none runs."""
    target = find(state_dir, url)
    if isinstance(target, Folder):
        raise StateError(f"no daemon runs on {target.path}; start one with `edge-es serve`, or name it by --url")
    return target


def find(state_dir: Path | None, url: str | None) -> Target:
    """The target of a command: `--url`, else the live daemon of the folder, else the folder.

    With `--url` the token comes from $EDGE_ES_TOKEN, or from the folder's tokens.json where the address is the one of
    the folder's daemon, or on loopback: no other host is to be told it. Raises StateError where neither a daemon nor a
    state folder is there.
    """
    folder = state_folder(state_dir)
    if url is not None:
        address = url.rstrip("/")
        return Daemon(address, admin_token(folder if _is_own(address, folder) else None))
    if not folder.is_dir():
        raise StateError(
            f"there is no state folder {folder}; `edge-es serve` makes one, or name another by --state-dir"
        )
    live = live_url(folder)
    return Daemon(live, admin_token(folder)) if live else Folder(folder)
