"""The bearer tokens of a state folder: `tokens.json`, readable by its owner alone."""

import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_es.errors import StateError

FILE = "tokens.json"


@dataclass(frozen=True)
class Tokens:
    """`chat` may ask for answers; `admin` may do everything."""

    chat: str
    admin: str


def load_or_create(folder: Path) -> Tokens:
    """The folder's tokens, made at the first start. Raises StateError where the file is damaged."""
    path = folder / FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _load(path)
    tokens = Tokens(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(asdict(tokens), file)
        file.flush()
        os.fsync(file.fileno())
    return tokens


def _load(path: Path) -> Tokens:
    try:
        path.chmod(0o600)  # a copied folder may have lost it
        found = Tokens(**json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        found = Tokens("", "")
    if not all(isinstance(token, str) and len(token) >= 16 for token in (found.chat, found.admin)):
        raise StateError(f"{path} is damaged; delete it, and the next start makes new tokens")
    return found


def matches(given: str, *expected: str) -> bool:
    """Is `given` one of the tokens? Takes the same time whatever it is."""
    return any([hmac.compare_digest(given.encode(), token.encode()) for token in expected])  # noqa: C419 - all of them
