"""The bearer tokens of a state folder: `tokens.json`, readable by its owner alone."""

import hmac
import json
import logging
import os
import secrets
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_es.errors import StateError

FILE = "tokens.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokens:
    """`chat` may ask for answers; `admin` may do everything."""

    chat: str
    admin: str


def load_or_create(folder: Path) -> Tokens:
    """The folder's tokens, made at the first start. Raises StateError where the file is damaged."""
    path = folder / FILE
    return _load(path) if path.exists() else rotate(folder)


def rotate(folder: Path) -> Tokens:
    """New tokens in place of the folder's, if there are any; these open nothing from here on. Raises StateError."""
    path, partial = folder / FILE, folder / f"{FILE}.{secrets.token_hex(4)}.partial"
    tokens = Tokens(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            json.dump(asdict(tokens), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StateError(f"{path} cannot be written: {error.strerror}; what it held stays valid") from None
    return tokens


def _load(path: Path) -> Tokens:
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)  # a copied folder may have lost it
        found = Tokens(**json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        found = Tokens("", "")
    if not all(isinstance(token, str) and len(token) >= 16 for token in (found.chat, found.admin)):
        raise StateError(f"{path} is damaged; `edge-es token rotate` writes new tokens")
    return found


class Keyring:
    """The tokens that are valid now: those of the file, read again whenever another takes its place."""

    def __init__(self, folder: Path) -> None:
        """Makes the tokens where there are none. Raises StateError where the file is damaged."""
        self._path = folder / FILE
        self._tokens = load_or_create(folder)
        self._seen = self._stamp()
        self._lock = threading.Lock()

    def tokens(self) -> Tokens:
        """From any thread. A file that went, or was damaged, since it was read changes nothing, and the log says so."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._tokens = _load(self._path)
                    log.info("new tokens are valid")
                except StateError as error:
                    log.warning("%s; until then the former tokens stay valid", error)
            return self._tokens

    def _stamp(self) -> tuple[int, int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def matches(given: str, *expected: str) -> bool:
    """Is `given` one of the tokens? Takes the same time whatever it is."""
    return any([hmac.compare_digest(given.encode(), token.encode()) for token in expected])  # noqa: C419 - all of them
