"""Where a running daemon is. Apart, so that neither finding one nor speaking to one imports the other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Daemon:
    """A running daemon. `token` is the bearer token, None where none is known."""

    url: str
    token: str | None = None
