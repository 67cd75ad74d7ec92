"""What group commit brings on this disk: `python -m tests.service.commits [FOLDER] [--events N]`.

Threads add events to a store, each in a commit of its own and then through the group, in turns; printed is the median
of the rates and their ratio. Asserts nothing: how long an fsync takes is the disk's affair.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_es.feedback import Event, Exchange, Prompt
from service.clock import uuid7
from service.store import Store

ROUNDS = 5


def add(store: Store, grouped: bool) -> None:
    event = Event(uuid7(), "demonstration", (Exchange(Prompt.user("2 + 2?"), "4"),))
    if grouped:
        store.add_event(event, {"id": event.id}, held_out=False)
    else:
        with store.transaction():  # as it was: one thread, one commit
            store.add_event(event, {"id": event.id}, held_out=False)


def rate(store: Store, threads: int, events: int, grouped: bool) -> float:
    """Events a second."""

    def some() -> None:
        for _ in range(events // threads):
            add(store, grouped)

    running = [threading.Thread(target=some) for _ in range(threads)]
    start = time.perf_counter()
    for one in running:
        one.start()
    for one in running:
        one.join()
    return events // threads * threads / (time.perf_counter() - start)


def main(out: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="on the disk to measure; default: a temporary one")
    parser.add_argument("--events", type=int, default=400, help="a round")
    given = parser.parse_args()
    out("threads   alone/s   grouped/s   ratio")
    for threads in (1, 4, 16, 40):
        with tempfile.TemporaryDirectory(dir=given.folder) as place, Store(Path(place)) as store:
            rates: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for grouped in rates:
                    rates[grouped].append(rate(store, threads, given.events, grouped))
            alone, grouped_rate = (statistics.median(rates[grouped]) for grouped in rates)
            out(f"{threads:7d} {alone:9.0f} {grouped_rate:11.0f} {grouped_rate / alone:7.2f}")


if __name__ == "__main__":
    main()
