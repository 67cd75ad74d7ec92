"""HTTP on the wire: what a connection may take before the application sees a request, and after.

Slow, silent and countless clients cost a bounded number of connections for a bounded time. Where the room is full, the
connection that has waited longest without a request makes way, so that who asks properly is answered. Knows no route.
"""

import asyncio
import sys
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import ApiError

MAX_CONNECTIONS = 512  # under the usual limit of 1024 file descriptors
BACKLOG = 128  # connections taken at one go
HEAD_BYTES = 32 * 2**10  # of an unfinished request line with its headers
HEAD_SECONDS = 10.0  # from the connection, or a request's first byte, to the end of its headers
IDLE_SECONDS = 15  # between two requests of a connection
READER_SECONDS = 60.0  # that an answer may wait for a client to read it


class Connection(H11Protocol):
    """One connection. A request is in hand from the end of its headers to the end of its answer."""

    max_connections = MAX_CONNECTIONS
    head_seconds = HEAD_SECONDS
    reader_seconds = READER_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None

    @property
    def in_hand(self) -> bool:
        """Does the application work on a request?"""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time that the first request may take; makes room where there is none."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)
        if len(self.connections) > self.max_connections:
            others = [other for other in self.connections if isinstance(other, Connection) and other is not self]
            waiting = [other for other in others if not other.in_hand and not other.transport.is_closing()]
            if waiting:
                min(waiting, key=lambda other: other.since).give_up()
            else:
                message = f"{len(others)} connections are being served; try again in a moment"
                self._refuse(ApiError(429, message, code="busy", headers={"Retry-After": "1"}))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A client that has begun a request must end its headers in time."""
        super().data_received(data)
        if self.in_hand:
            self._stop_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def on_response_complete(self) -> None:
        """The connection waits for its next request from now on."""
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        super().pause_writing()
        if self._reader_timer is None:
            self._reader_timer = self.loop.call_later(self.reader_seconds, self.give_up)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in the API's error shape."""
        if getattr(sys.exception(), "error_status_hint", 400) == 431:
            self._refuse(ApiError(431, f"the headers are longer than {HEAD_BYTES} bytes", code="headers_too_long"))
        else:
            self._refuse(ApiError(400, "this is no HTTP request", code="invalid_http"))

    def give_up(self) -> None:
        """Closes at once, whatever is still unsent."""
        self._stop_timers()
        self.transport.abort()

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            self._refuse(ApiError(408, f"the headers took longer than {self.head_seconds:g} s", code="too_slow"))
        else:
            self.give_up()

    def _refuse(self, error: ApiError) -> None:
        """Answers in the application's place, and closes."""
        if self.transport.is_closing():
            return
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.give_up()  # an answer is under way already
            return
        self._stop_head_timer()
        answer = error.response()
        head = [(name, value) for name, value in answer.raw_headers if name != b"connection"]
        response = h11.Response(status_code=error.status, headers=[*head, (b"connection", b"close")])
        events = (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def settings(app: ASGIApp, protocol: type[Connection] = Connection, **options: Any) -> uvicorn.Config:
    """How the application is served: HTTP/1.1 alone, and no header of a client's is taken for its address."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        backlog=BACKLOG,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=IDLE_SECONDS,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="error",  # a warning for each request that is no HTTP would let anyone fill the log
        **options,
    )
