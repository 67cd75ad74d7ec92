"""Clients that take their time, say nothing, or come in crowds: let go in time, and others are served meanwhile.

The times are shortened; what is asserted is what happens, not when.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest
from echo_daemon import Daemon
from wire import alive, connected, error, rest, status

from service.security import Perimeter
from service.wire import Connection, settings

POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
Serving = Callable[..., Daemon]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 0.3)
    monkeypatch.setattr(Connection, "reader_seconds", 0.3)
    monkeypatch.setattr(Perimeter, "body_seconds", 0.3)


@pytest.fixture
def crowd(daemon: Daemon) -> Iterator[Callable[..., list[socket.socket]]]:
    """Connections, each of which sends some bytes at once."""
    with ExitStack() as stack:

        def connect(number: int, sends: bytes = b"") -> list[socket.socket]:
            wires = [stack.enter_context(connected(daemon)) for _ in range(number)]
            for wire in wires:
                wire.sendall(sends)
            return wires

        yield connect


@pytest.mark.parametrize(
    "unfinished", [b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX"]
)
def test_headers_that_do_not_end(daemon: Daemon, crowd: Callable[..., list[socket.socket]], unfinished: bytes) -> None:
    for wire in crowd(20, unfinished):
        alive(daemon)
        assert error(rest(wire), 408)["code"] == "too_slow"


def test_headers_that_drip(daemon: Daemon) -> None:
    with connected(daemon) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\n")
        answer = b""
        wire.settimeout(0.05)
        for _ in range(1000):  # each drop comes well in time, the end of the headers does not
            with suppress(ConnectionError):  # the daemon may have closed: what it said can still be read
                wire.sendall(b"X-A: b\r\n")
            try:
                answer = wire.recv(65536)
            except TimeoutError:
                continue
            break
        assert status(answer) == 408
    alive(daemon)


def test_silence(daemon: Daemon, crowd: Callable[..., list[socket.socket]]) -> None:
    for wire in crowd(20):
        assert rest(wire) == b""
    alive(daemon)


def test_bodies_that_do_not_end(daemon: Daemon, crowd: Callable[..., list[socket.socket]]) -> None:
    for head in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        for wire in crowd(5, POST + head):
            alive(daemon)
            assert error(rest(wire), 408)["code"] == "too_slow"


def test_a_refused_body_may_not_go_on_for_ever(daemon: Daemon) -> None:
    with connected(daemon) as wire:
        wire.sendall(b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        answer = wire.recv(65536)
        wire.settimeout(0.05)
        for _ in range(1000):
            try:
                wire.sendall(b"x")
                if not wire.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("the body was read without an end")
        assert status(answer) == 401
    alive(daemon)


def test_the_next_request_of_a_connection_has_its_time_too(daemon: Daemon) -> None:
    with connected(daemon) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200")
        wire.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert error(rest(wire), 408)


def test_who_takes_time_to_answer_is_not_cut_off(daemon: Daemon) -> None:
    daemon.engine.token_seconds = 0.1
    body = {"model": "pocket", "prompt": "0123456789"}
    assert daemon.stranger.post("/v1/completions", json=body).json()["choices"][0]["text"] == "0123456789"
    daemon.engine.token_seconds = 0.0


def test_who_does_not_read_is_let_go(daemon: Daemon) -> None:
    token = daemon.context.tokens.admin.encode()
    with connected(daemon) as wire:
        wire.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
        heard = b""
        while b"ping" not in heard:  # from here on it is listened to
            heard += wire.recv(65536)
        gone = threading.Event()
        while daemon.context.news.readers and not gone.wait(0.01):
            daemon.engine.tell("version", {"note": "x" * 50_000})
        alive(daemon)
        assert daemon.context.news.readers == []


def test_a_crowd_that_waits_makes_way(
    daemon: Daemon, crowd: Callable[..., list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "max_connections", 8)
    monkeypatch.setattr(Connection, "head_seconds", 600.0)
    wires = crowd(40, b"GET /healthz HTTP/1.1\r\n")
    alive(daemon)
    for wire in wires[:32]:  # the oldest went, without a word
        assert rest(wire) == b""
    wires[-1].sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
    assert rest(wires[-1]).startswith(b"HTTP/1.1 200")


def test_a_crowd_that_is_served_is_not_disturbed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "max_connections", 4)
    token = daemon.context.tokens.admin.encode()
    ask = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
    with ExitStack() as stack:
        served = [stack.enter_context(connected(daemon)) for _ in range(4)]
        for wire in served:
            wire.sendall(ask)
            assert wire.recv(10)
        with connected(daemon) as one_more:
            answer = rest(one_more)
        assert error(answer, 429)["code"] == "busy"
        assert b"retry-after: 1" in answer.lower()
        daemon.engine.tell("version", {"version": 7})
        for wire in served:
            heard = b""
            while b'"version": 7' not in heard:
                heard += wire.recv(65536)
    monkeypatch.undo()
    alive(daemon)


def test_a_full_queue_says_when_to_come_again(daemon: Daemon) -> None:
    daemon.engine.busy = True
    answer = daemon.stranger.post("/v1/completions", json={"model": "pocket", "prompt": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    alive(daemon)


def test_a_client_cannot_choose_its_address(daemon: Daemon) -> None:
    seen = settings(lambda *_: None)  # type: ignore[arg-type, return-value]
    assert seen.proxy_headers is False and seen.ws == "none"
    assert httpx.get(f"{daemon.url}/healthz", headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 200
