"""sd_notify over a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_daemon import Daemon

from service.daemon import Server
from service.supervisor import notify, watchdog_seconds
from service.wire import settings


@pytest.fixture(params=["path", "abstract"])
def supervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        name = str(tmp_path / "notify") if request.param == "path" else f"@edge-es-test-{os.getpid()}"
        wire.bind(name.replace("@", "\0", 1))
        wire.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield wire


def test_assignments_arrive_as_one_datagram(supervisor: socket.socket) -> None:
    assert notify("READY=1", "STATUS=serves é")
    assert supervisor.recv(4096).decode() == "READY=1\nSTATUS=serves é"


def test_a_deaf_supervisor_stops_nothing(supervisor: socket.socket) -> None:
    told = [notify("WATCHDOG=1", "x" * 1000) for _ in range(2000)]
    assert told[0] and not told[-1]


@pytest.mark.parametrize("address", ["", "nowhere", "/nowhere/notify", "@nowhere-at-all", "/" + "x" * 200])
def test_no_supervisor_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("60000000", None, 30.0),
        ("60000000", os.getpid(), 30.0),
        ("60000000", 1, None),
        ("0", None, None),
        ("x", None, None),
    ],
)
def test_how_often_the_watchdog_is_fed(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: int | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(pid))
    assert watchdog_seconds() == seconds
    monkeypatch.delenv("WATCHDOG_USEC")
    assert watchdog_seconds() is None


async def _ticks(server: Server, number: int) -> None:
    for _ in range(number):
        await server.on_tick(1)


def test_the_server_tells_ready_once_then_that_it_lives_then_that_it_stops(
    daemon: Daemon, supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio
    import signal

    monkeypatch.setenv("WATCHDOG_USEC", "1")
    server = Server(settings(daemon.context.keyring), daemon.context, daemon.url)  # type: ignore[arg-type]
    daemon.engine.ready = False
    asyncio.run(_ticks(server, 1))
    assert supervisor.recv(4096) == b"WATCHDOG=1", "a model that loads for long is no dead daemon"
    daemon.engine.ready = True
    asyncio.run(_ticks(server, 2))
    heard = [supervisor.recv(4096).decode() for _ in range(3)]
    assert heard[0].startswith("READY=1\nSTATUS=serves pocket") and daemon.url in heard[0]
    assert heard[1:] == ["WATCHDOG=1"] * 2
    daemon.engine.beat -= 1e6
    asyncio.run(_ticks(server, 2))
    supervisor.settimeout(0)
    with pytest.raises(BlockingIOError):  # the device thread hangs, though the API answers
        supervisor.recv(4096)
    supervisor.settimeout(10)
    monkeypatch.setattr("threading.Timer.start", lambda _: None)
    server.handle_exit(signal.SIGTERM, None)
    assert supervisor.recv(4096) == b"STOPPING=1"
