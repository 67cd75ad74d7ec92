"""Where a running daemon is. Apart, so that neither finding one nor speaking to one imports the other."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Daemon:
    """A running daemon. `token` is the bearer token, None where none is known."""

    url: str
    token: str | None = None


def is_loopback(host: str) -> bool:
    """Does this host name only this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: 127.example.org is anyone's
        return host.lower() == "localhost"
