"""Bytes as a browser or an attacker would send them, over a socket of their own."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from echo_daemon import Daemon


def port(daemon: Daemon) -> int:
    found = httpx.URL(daemon.url).port
    assert found is not None
    return found


@contextmanager
def connected(daemon: Daemon) -> Iterator[socket.socket]:
    """A connection that nothing was sent over yet."""
    with socket.create_connection(("127.0.0.1", port(daemon)), timeout=30) as wire:
        yield wire


def rest(wire: socket.socket) -> bytes:
    """All that comes until the daemon closes."""
    answer = b""
    try:
        while chunk := wire.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def raw(daemon: Daemon, request: str | bytes, *more: bytes) -> bytes:
    """The answer to a request whose lines end in a plain newline, and to bytes after it."""
    head = request.replace("\n", "\r\n").encode() if isinstance(request, str) else request
    with connected(daemon) as wire:
        try:
            for part in (head, *more):
                wire.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon has heard enough
        return rest(wire)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error(answer: bytes, code: int) -> dict[str, Any]:
    """The error object of a refusal with this status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(head) == code, answer[:500]
    assert b"content-type: application/json" in head.lower()
    found: dict[str, Any] = json.loads(body)["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


def alive(daemon: Daemon) -> None:
    """A new client is answered."""
    assert httpx.get(f"{daemon.url}/healthz", trust_env=False, timeout=30).json() == {"status": "ok"}
