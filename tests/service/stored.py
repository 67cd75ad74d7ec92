"""Events, rows and folders for the tests of the store."""

import uuid
from pathlib import Path

from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row
from service.store import Store


def event(event_id: str = "", kind: str = "demonstration", answer: str = "4") -> Event:
    return Event(event_id or str(uuid.uuid4()), kind, (Exchange(Prompt.user("2 + 2?"), answer),))  # type: ignore[arg-type]


def step(attempt: int, version: int | None, events: tuple[str, ...] = (), **fields: object) -> Row:
    return Row(attempt, version, 0, "step", "2026-01-01T00:00:00+00:00", events=events, **fields)  # type: ignore[arg-type]


def fill_disk(store: Store) -> None:
    """A real SQLITE_FULL: the file may not grow any more."""
    pages = store.query("PRAGMA page_count")[0][0]
    store.query(f"PRAGMA max_page_count = {pages}")


def free_disk(store: Store) -> None:
    store.query("PRAGMA max_page_count = 1000000")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's time of change and bytes."""
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
