"""What happens in the daemon, told to any number of readers: kept for those who come back, bounded for slow ones.

Knows the event loop, and neither HTTP nor what the news mean. `tell` may be called from any thread and never waits.
"""

import asyncio
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from edge_es.errors import EdgeError

KEPT = 1000  # news that a reader may have missed and still catch up on
BACKLOG = 1000  # news that a slow reader may fall behind by; then its stream ends, and it should look anew
COUNT_SECONDS = 0.5  # between two countings of the feedback: thousands may come in one second
MOVES_FEEDBACK = frozenset({"version", "rollback", "probe"})  # of these news some use feedback or set it aside


@dataclass(frozen=True)
class Item:
    """id: unique over restarts, so that a reader who names it is told what came after."""

    id: str
    kind: str
    data: dict[str, Any]


@dataclass(eq=False)
class Reader:
    """One stream. missed: it named an item that is not kept any more, and should look anew. The queue ends by None."""

    loop: asyncio.AbstractEventLoop
    trusted: bool
    missed: bool = False
    queue: "asyncio.Queue[Item | None]" = field(default_factory=asyncio.Queue)

    def put(self, item: Item) -> None:
        """On the reader's loop."""
        if self.queue.qsize() <= BACKLOG:
            self.queue.put_nowait(item if self.queue.qsize() < BACKLOG else None)


class News:
    """count: how many events are in each state; it blocks, and is called beside the loop."""

    def __init__(self, count: Callable[[], dict[str, int]]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._run, self._numbers = secrets.token_hex(4), itertools.count(1)
        self._kept: deque[Item] = deque(maxlen=KEPT)
        self.readers: list[Reader] = []
        self._fed, self._counting = False, False
        self._counts: dict[str, int] | None = None

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Tells all readers."""
        with self._lock:  # all readers get the news in one order
            item = Item(f"{self._run}-{next(self._numbers)}", kind, dict(data))
            self._kept.append(item)
            for reader in self.readers:
                with suppress(RuntimeError):  # its loop is gone: nobody listens any more
                    reader.loop.call_soon_threadsafe(reader.put, item)
        if kind in MOVES_FEEDBACK:
            self.fed()

    def fed(self) -> None:
        """Feedback came, or its state changed: it is counted soon, and told where the counts are others."""
        with self._lock:
            self._fed = True
            if self._counting or not self.readers:
                return
            self._counting = True
        threading.Thread(target=self._recount, name="count", daemon=True).start()

    def _recount(self) -> None:
        while True:
            with self._lock:
                if not (self._fed and self.readers):
                    self._counting = False
                    return
                self._fed = False
            try:
                counts = self._count()
            except EdgeError:  # the store refuses, or is closed: the next piece of news counts anew
                with self._lock:
                    self._counting = False
                return
            if counts != self._counts:
                self._counts = counts
                self.tell("feedback", counts)
            time.sleep(COUNT_SECONDS)

    def read(self, last: str | None, trusted: bool) -> Reader:
        """A reader on the running loop, to whom what came after the item `last` is told first."""
        reader = Reader(asyncio.get_running_loop(), trusted)
        with self._lock:
            if last is not None:
                known = [item.id for item in self._kept]
                since = known.index(last) + 1 if last in known else len(known)
                reader.missed = last not in known
                for item in itertools.islice(self._kept, since, None):
                    reader.put(item)
            self.readers.append(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Nothing more is told to this reader."""
        with self._lock:
            self.readers.remove(reader)
