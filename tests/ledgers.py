"""Ledgers in the making, of the smallest deltas there are: real bases, steps, rollbacks and merges, and no model."""

import random
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from edge_es import compaction, ledger, noise
from edge_es.ledger import Journal, Row, anchor_row
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, pack
from service import blobs

LAYERS = {"a": (3, 2), "b": (2, 3)}  # linear -> (in, out)


class Compactable(Journal, Protocol):
    """A journal that drops what it is told to."""

    def save_snapshot(self, version: int, data: bytes) -> None: ...
    def compact(self, versions: frozenset[int], snapshots: frozenset[int]) -> None: ...


@dataclass
class Author:
    """Adds rows to a journal. delta: of the newest version; made: of every version that was ever published."""

    journal: Compactable
    rng: random.Random
    delta: Delta = field(default_factory=Delta)
    made: dict[int, Delta] = field(default_factory=dict)

    def begin(self) -> None:
        self.journal.append(anchor_row(), {})
        self.made[0] = Delta()

    @property
    def version(self) -> int:
        return max(self.made)

    def basis(self) -> int:
        g = torch.Generator().manual_seed(self.rng.getrandbits(32))
        a = {name: torch.randn(1, inputs, generator=g) for name, (inputs, _) in LAYERS.items()}
        side = InputSide(a, {name: out for name, (_, out) in LAYERS.items()})
        delta = self.delta.with_basis(side)
        return self._publish("basis", delta, pack(Delta((Part(side, None),))), side=side.sha256)

    def step(self, events: tuple[str, ...] = ()) -> int:
        if not self.delta.parts:
            self.basis()
        row = replace(
            self._next("step"),
            events=events,
            seed=self.rng.getrandbits(32),
            step=self.version + 1,
            generator=noise.GENERATOR,
            shaped=tuple(self.rng.gauss(0, 1).hex() for _ in range(8)),
            alpha=(0.5).hex(),
            sigma=(0.05).hex(),
            side=self.delta.active.basis.sha256,
        )
        delta = ledger.apply_row(self.delta, row, {}, self.journal)
        self.journal.append(replace(row, sha256=delta.sha256), {})
        return self._stands(delta)

    def reject(self, events: tuple[str, ...] = ()) -> None:
        self.journal.append(replace(self._next("step"), version=None, events=events, reason="no signal"), {})

    def merge(self) -> int:
        """A row that brings a whole delta."""
        return self._publish("consolidate", self.delta, pack(self.delta))

    def rollback(self, target: int) -> int:
        ledger.rollback(self.journal, target, "for a test")
        return self._stands(self.made[target])

    def snapshot(self) -> None:
        self.journal.save_snapshot(self.version, pack(self.delta))

    def compact(self, keep: int, wanted: tuple[int, ...] = ()) -> int:
        """The oldest version that is to be kept."""
        first = compaction.oldest(self.version, keep, wanted)
        gone = compaction.plan(self.journal.rows(), self.journal.snapshots(), first)
        self.journal.compact(gone.rows, gone.snapshots)
        return first

    def live(self, turns: int, keep: int) -> None:
        """So many random turns, with snapshots where the daemon would make them."""
        for _ in range(turns):
            kind = self.rng.random()
            if kind < 0.08:
                self.basis()
            elif kind < 0.12 and self.delta.parts:
                self.merge()
            elif kind < 0.25 and self.version:
                self.rollback(max(0, self.version - self.rng.randint(1, keep)))
            elif kind < 0.3:
                self.reject()
            else:
                self.step()
            rows = self.journal.rows()
            if len(ledger.way(rows, self.journal.snapshots(), self.version)[1]) >= compaction.spacing(keep):
                self.snapshot()
                self.compact(keep)

    def _next(self, kind: ledger.Kind) -> Row:
        attempt = self.journal.rows()[-1].attempt + 1
        return Row(attempt, self.version + 1, self.version, kind, ledger.now())

    def _publish(self, kind: ledger.Kind, delta: Delta, blob: bytes, side: str | None = None) -> int:
        name = side or blobs.sha256(blob)
        row = replace(self._next(kind), side=name, sha256=delta.sha256)
        self.journal.append(row, {name: blob})
        return self._stands(delta)

    def _stands(self, delta: Delta) -> int:
        self.delta = delta
        self.made[self.version + 1] = delta
        return self.version
