"""`edge-es serve`: takes the state folder and the port, starts the device thread, serves until it is told to stop."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn

from edge_es.cluster import extra
from edge_es.config import Config
from edge_es.errors import ConfigError, EdgeError, ModelError, StateError
from edge_es.loopback import is_loopback
from service import logs
from service.app import create_app
from service.context import Context
from service.store import Store, state_folder
from service.supervisor import notify, watchdog_seconds
from service.wire import settings

__all__ = ["leave", "serve", "state_folder"]

NOTE = "daemon.json"
REQUESTS_SECONDS = 3  # to finish the requests in hand
STALL_SECONDS = 600.0  # after which the device thread is taken to hang: no slice of anything lasts as long
STOP_SECONDS = 4.7  # until the process ends in any case: what is durable stays, what is not was not promised

log = logging.getLogger("service")


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigError in one line where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"serve.host '{host}' is no address of this machine: {error}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}; choose another by --port") from None
    if is_loopback(host) and not is_loopback(str(found.getsockname()[0])):
        found.close()
        raise ConfigError(f"serve.host '{host}' is not loopback on this machine; name the address itself")
    return found


def url_of(bound: socket.socket) -> str:
    """Where this machine reaches the daemon."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_note(folder: Path, url: str) -> Path:
    """Tells the CLI where the daemon of this folder listens."""
    note, partial = folder / NOTE, folder / f"{NOTE}.partial"
    partial.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="ascii")
    partial.replace(note)
    return note


class Server(uvicorn.Server):
    """uvicorn that ends endless streams first, and itself when the model cannot be loaded."""

    def __init__(self, config: uvicorn.Config, context: Context, url: str) -> None:
        super().__init__(config)
        self.context, self.url = context, url
        self.announced = False
        self.alive_every = watchdog_seconds()
        self.alive_at = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and Ctrl-C."""
        if not self.context.stopping.is_set():
            self.context.stopping.set()
            notify("STOPPING=1")
            overdue = threading.Timer(STOP_SECONDS, self._leave)
            overdue.daemon = True
            overdue.start()
        super().handle_exit(sig, frame)

    def _leave(self) -> None:
        log.error("did not come to rest in %s s: ends at the last durable state", STOP_SECONDS)
        (self.context.store.folder / NOTE).unlink(missing_ok=True)
        leave()

    def _lives(self) -> bool:
        """Whether the device thread came round of late; while the model loads there is nothing to come round."""
        engine = self.context.engine
        return not engine.ready or time.monotonic() - engine.beat < STALL_SECONDS

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        engine = self.context.engine
        if engine.failure is not None:
            return True
        if engine.ready and not self.announced:
            self.announced = True
            live = engine.live_status()
            remember(self.context)
            serving = f"{live.model} ({live.quantization}, {live.device}) at version {live.version} on {self.url}"
            print(f"edge-es serves {serving}", flush=True)
            notify("READY=1", f"STATUS=serves {serving}")
        if self.alive_every is not None and time.monotonic() - self.alive_at >= self.alive_every and self._lives():
            self.alive_at = time.monotonic()
            notify("WATCHDOG=1")
        return await super().on_tick(counter)


def remember(context: Context) -> None:
    """Leaves what only the running daemon knows in the store, for `edge-es status` when it is stopped."""
    live = context.live_status()
    if live is not None:
        try:
            known = context.store.get_setting("machine") or {}  # the engine says at its start what is turned off
            left = {**known, "device": live.device, "memory": dict(live.memory)}
            context.store.put_setting("machine", left)
        except StateError as error:
            log.warning("%s", error)


def _read_ahead(context: Context) -> None:
    """Reads the ledger while the model loads, so that the first look at a long past does not wait for it."""
    with suppress(StateError):  # who looks is told
        context.history.attempts()


def leave(status: int = 0) -> NoReturn:
    """Ends the process at once: what torch would do on the way out takes longer than a supervisor waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(config: Config) -> int:
    """Runs until SIGTERM or Ctrl-C; the exit status. What the user can mend is one line on standard error."""
    os.umask(0o077)  # what people asked and said is theirs alone
    logs.start(config.serve.log_text)
    try:
        return _serve(config)
    except EdgeError as error:
        print(f"edge-es: {error}", file=sys.stderr)
        return 1


def _serve(config: Config) -> int:
    if config.workers.evaluator == "ray":
        extra.require()
    with ExitStack() as stack:
        store = stack.enter_context(Store(state_folder(config)))
        for repair in store.repairs:
            log.warning("state folder %s: %s", store.folder, repair)
        bound = stack.enter_context(listen(config.serve.host, config.serve.port))
        from service.engine import Engine  # torch, seconds of it: not before the folder and the port are ours

        engine = Engine(config, store)
        app = create_app(config, store, engine)
        context: Context = app.state.context
        note = write_note(store.folder, url_of(bound))
        stack.callback(note.unlink, missing_ok=True)
        server = Server(settings(app, timeout_graceful_shutdown=REQUESTS_SECONDS), context, url_of(bound))
        # uvicorn raises its signal again when it is done; the process must live on to stop the device thread.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        engine.start()
        threading.Thread(target=_read_ahead, args=(context,), name="history", daemon=True).start()
        try:
            server.run(sockets=[bound])
        finally:
            engine.stop()
        remember(context)
        if engine.failure is not None:
            raise ModelError(engine.failure)
        return 0
