"""An evaluator by a driver in a process of its own (`driver.py`): what the daemon has of a cluster.

Whatever becomes of the cluster, of its driver or of a worker, is a ClusterError here, after which the driver is started
anew. Nothing here waits for longer than a slice.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from edge_es.cluster.link import Asked, Begin, Came, Dropped, Needed, Standings, Told, heard, say
from edge_es.cluster.rays import ClusterError
from edge_es.cluster.way import Ways
from edge_es.errors import EdgeError
from edge_es.evaluator import Ask, Scores
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

log = logging.getLogger(__name__)
LOOK = 0.01  # seconds that a slice waits for an answer
SILENCE = 120.0  # seconds without a word after which the driver is taken to hang: a cluster is joined in less
GONE = "the process that drives the cluster has ended"


class Driven:
    """begin: what the driver is told first. ways: how workers get from version to version."""

    def __init__(self, begin: Begin, ways: Ways) -> None:
        self._begin, self._ways = begin, ways
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Connection | None = None
        self._number = 0
        self.workers: Sequence[Mapping[str, Any]] = ()
        """How the workers stood when they were last heard of; read by any thread."""

    def scores(self, delta: Delta, ask: Ask) -> Slices[Scores]:
        """`delta` is not read: workers have it by the ledger. Raises ClusterError where there are too few answers, or
        no driver."""
        link = self._started()
        self._number += 1
        number, answered, word = self._number, False, time.monotonic()
        try:
            self._say(link, Asked(number, ask))
            while True:
                yield
                message = self._heard(link)
                if message is None and time.monotonic() - word > SILENCE:
                    self.close()
                    raise ClusterError(f"the process that drives the cluster said nothing for {SILENCE:g} s")
                if message is not None:
                    word = time.monotonic()
                if isinstance(message, Standings):
                    self.workers = message.workers
                elif isinstance(message, Needed) and message.number == number:
                    self._say(link, Told(number, self._way(message)))
                elif isinstance(message, Came) and message.number == number:
                    answered = True
                    if isinstance(message.scores, str):
                        raise ClusterError(message.scores)
                    return message.scores
        finally:
            if not answered and self._link is link:
                with suppress(ClusterError):  # where it is gone, it works no more
                    self._say(link, Dropped(number))

    def _way(self, needed: Needed) -> Any:
        try:
            return self._ways(needed.version, needed.at)
        except EdgeError as error:
            return str(error)

    def _started(self) -> Connection:
        if self._link is None:
            ours, theirs = socket.socketpair()
            command = [sys.executable, "-m", "edge_es.cluster.driver", str(theirs.fileno())]
            # A session of its own: Ctrl-C at the daemon's terminal is the daemon's to hear.
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )
            theirs.close()
            self._link = Connection(ours.detach())
            self._say(self._link, self._begin)
        return self._link

    def _say(self, link: Connection, message: object) -> None:
        try:
            say(link, message)
        except OSError:
            self.close()
            raise ClusterError(GONE) from None

    def _heard(self, link: Connection) -> Any:
        try:
            return heard(link.recv_bytes()) if link.poll(LOOK) else None
        except (EOFError, OSError):
            self.close()
            raise ClusterError(GONE) from None

    def close(self) -> None:
        """Ends the driver, and with it a local cluster; does not wait for it. A later ask starts another."""
        if self._link is not None:
            self._link.close()  # by which it knows
        self._link, self.workers = None, ()
        if self._process is not None and self._process.poll() is None:
            log.info("the process that drives the cluster (%d) is told to end", self._process.pid)
