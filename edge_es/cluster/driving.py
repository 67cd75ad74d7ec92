"""What the driver does with what it is told (`driver.py`): one ask after the other, by a crew of Ray's workers."""

import queue
import time
from multiprocessing.connection import Connection
from typing import Any

from edge_es.cluster.crew import Crew
from edge_es.cluster.evaluator import OnWorkers
from edge_es.cluster.link import Asked, Came, Dropped, Needed, Standings, Told, heard, say
from edge_es.cluster.way import Way
from edge_es.errors import EdgeError, StateError
from edge_es.evaluator import Ask, Scores
from edge_es.spaces.delta import Delta

NEWS = 1.0  # seconds between two words about how the workers stand
Inbox = queue.SimpleQueue[bytes | None]  # None: the daemon is gone


class Gone(Exception):
    """The daemon has ended."""


class _Drop(Exception):
    """Nobody waits any more for what is in hand."""


class Driving:
    """link: to the daemon. inbox: what comes from it, `Begin` first. Raises Gone where it ends."""

    def __init__(self, link: Connection, inbox: Inbox) -> None:
        self._link, self._inbox = link, inbox
        begin = self._next()
        self._crew = Crew(begin.settings, begin.model, begin.budget, begin.own, begin.protected)
        self._at = OnWorkers(self._crew, self._way, begin.settings.pairs, begin.settings.min_share)
        self._number = -1  # of the ask in hand
        self._told_news = 0.0

    def serve(self) -> None:
        """For as long as the daemon asks. Raises Gone, or OSError where it is gone while it is told something."""
        while True:
            message = self._next()
            if not isinstance(message, Asked):
                continue  # of an ask that was dropped when its answer was under way
            self._number = message.number
            try:
                answer = self._scores(message.ask)
            except _Drop:
                continue
            self._tell_news()
            say(self._link, Came(message.number, answer))

    def _scores(self, ask: Ask) -> Scores | str:
        """Or the reason why there are none."""
        slices = self._at.scores(Delta(), ask)  # the delta is the workers' by the ledger
        try:
            while True:
                next(slices)
                while not self._inbox.empty():
                    self._heed(self._next())
                if time.monotonic() - self._told_news > NEWS:
                    self._tell_news()
        except StopIteration as end:
            scores: Scores = end.value
            return scores
        except EdgeError as error:
            return str(error)
        finally:
            slices.close()

    def _way(self, version: int, at: int | None) -> Way:
        """From the daemon, which has the ledger. Raises StateError where there is none."""
        say(self._link, Needed(self._number, version, at))
        while True:
            message = self._next()
            if isinstance(message, Told) and message.number == self._number:
                if isinstance(message.way, str):
                    raise StateError(message.way)
                return message.way
            self._heed(message)

    def _heed(self, message: object) -> None:
        if isinstance(message, Dropped) and message.number == self._number:
            raise _Drop

    def _tell_news(self) -> None:
        self._told_news = time.monotonic()
        say(self._link, Standings([hand.as_json() for hand in self._crew.hands]))

    def _next(self) -> Any:
        data = self._inbox.get()
        if data is None:
            raise Gone
        return heard(data)
