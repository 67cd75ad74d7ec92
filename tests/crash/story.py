"""A short life of a state folder in which everything happens once, and what must be true of the folder afterwards."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_es import ledger
from edge_es.errors import StateError
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row
from service.store import Store
from tests.ledgers import Author


@dataclass
class Facts:
    """What was asked of a folder, and what it said was done.

    sent, acknowledged: events. tried: version -> sha256 of every delta that was to be it; stood: of the one that was
    said to be.
    """

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    tried: dict[int, set[str]] = field(default_factory=dict)
    stood: dict[int, str] = field(default_factory=dict)


class Recording(Store):
    """A store that notes which versions it is asked to keep."""

    facts: Facts

    def append(self, row: Row, blobs_by_hash: Mapping[str, bytes]) -> None:
        if row.version is not None:
            self.facts.tried.setdefault(row.version, set()).add(row.sha256 or "")
        super().append(row, blobs_by_hash)
        if row.version is not None:
            self.facts.stood[row.version] = row.sha256 or ""


@dataclass
class Story:
    """Told on a folder, whatever its disk refuses. refused: how often it did. note: called after every change of the
    facts."""

    rng: random.Random
    note: Callable[[Facts], None] = lambda facts: None
    facts: Facts = field(default_factory=Facts)
    refused: int = 0

    def tell(self, folder: Path) -> None:
        """To its end, with the folder closed. Raises StateError where what was refused once is refused again."""
        self.store = self._tried_twice(lambda: self._open(folder))
        self.author = Author(self.store, self.rng)
        self._tried_twice(self.author.begin)
        for act in self._acts():
            try:
                act()
            except StateError:
                self.refused += 1
            self.note(self.facts)
        self._tried_twice(lambda: self._send("last"))
        self._tried_twice(self.author.step)
        self.store.close()
        self.note(self.facts)

    def _open(self, folder: Path) -> Recording:
        Recording.facts = self.facts
        store = Recording(folder)
        store.query("PRAGMA wal_autocheckpoint = 12")  # so that checkpoints are among what fails
        return store

    def _tried_twice(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except StateError:
            self.refused += 1
            return action()

    def _acts(self) -> list[Callable[[], Any]]:
        author, store = self.author, self.store
        return [
            *(lambda n=n: self._send(f"e{n}") for n in range(3)),  # type: ignore[misc]
            author.basis,
            lambda: author.step(tuple(sorted(self.facts.acknowledged))[:2]),
            author.snapshot,
            lambda: store.set_aside(["e1"], "for a test"),
            author.step,
            lambda: author.rollback(author.version - 1),
            lambda: author.merge() if author.delta.parts else None,
            author.step,
            author.snapshot,
            lambda: author.compact(1),
            lambda: store.drop_bodies(0, 1, 0, 9),
            lambda: self._both("e3", "e4"),
            author.step,
        ]

    def _send(self, one: str) -> None:
        self.facts.sent.add(one)
        event = Event(one, "demonstration", (Exchange(Prompt.user(one), "4" * 500),))
        self.store.add_event(event, {"value": one * 300}, held_out=False)
        self.facts.acknowledged.add(one)

    def _both(self, *events: str) -> None:
        """As the lines of a batch: together, or not at all."""
        before = set(self.facts.acknowledged)
        try:
            with self.store.transaction():
                for one in events:
                    self._send(one)
        except StateError:
            self.facts.acknowledged = before
            raise


def check(folder: Path, facts: Facts) -> None:
    """The folder as a start finds it: acknowledged within recovered within sent, and every version in its place."""
    with Store(folder) as store:
        fates = {fate.id: fate for fate in store.list_events(limit=1000)}
        assert facts.acknowledged <= set(fates) <= facts.sent, (facts.acknowledged, set(fates), facts.sent)
        assert ("e3" in fates) == ("e4" in fates), "half a batch"
        rows = store.rows()
        versions = {row.version: row.sha256 for row in rows if row.version is not None}
        assert list(versions) == list(range(len(versions))), versions
        assert facts.stood.items() <= versions.items(), (facts.stood, versions)
        assert all(sha256 in facts.tried[version] for version, sha256 in versions.items())
        for row in rows:
            assert all(row.version in fates[one].used_in for one in row.events)
        assert sum(len(fate.used_in) for fate in fates.values()) == sum(len(row.events) for row in rows)
        found = ledger.verify(store)
        assert found["mismatches"] == 0 and found["replayed"] + found["compacted"] == len(versions), found
        bring = [row for row in rows if row.kind != "step" and not row.compacted]
        named = set(store.snapshots().values()) | {row.side for row in bring if row.side}
        assert {path.name for path in (folder / "blobs").iterdir()} == named, "a blob that nobody names, or none"
