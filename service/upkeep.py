"""What keeps the state folder in bounds: snapshots, compaction of the ledger, texts of events whose time is over.

Runs on the device thread between turns, in short slices; whatever of it is dropped half-way is done the next time.
"""

import logging
from collections.abc import Callable

from edge_es import compaction, ledger
from edge_es.config import Config
from edge_es.slices import Slices
from edge_es.spaces.delta import pack
from edge_es.state import State
from service.store import Store

log = logging.getLogger(__name__)
AT_ONCE = 500  # events a transaction, so that requests do not wait for long
STRIDE = 1000  # events and answers, at most, that come before it is looked again which can go


class Upkeep:
    """Knows how far the ledger was looked at; all else is in the store."""

    def __init__(self, config: Config, store: Store) -> None:
        self._state, self._learn, self._store = config.state, config.learn, store
        self._seen = -1  # attempt
        self._behind = 0  # rows that a rebuild of the served version replays
        self._swept = 0  # events and answers that had come when some were last dropped
        self.failed = False  # then it is not tried again

    def next_work(self, state: State, window: Callable[[], int]) -> Slices[None] | None:
        """The next round, as `work` has it, or None where there is nothing to do or it has failed before."""
        if self.failed:
            return None
        self.failed = True  # until it is known that looking has not
        found = self._told(self.work(state, window())) if self.wanted(state) else None
        self.failed = False
        return found

    def _told(self, work: Slices[None]) -> Slices[None]:
        try:
            yield from work
        except Exception:
            self.failed = True
            raise

    def wanted(self, state: State) -> bool:
        """Whether a rebuild of this version has become too long, or more events than are kept have come."""
        return self._is_far(state) or self._is_full()

    def work(self, state: State, window: int) -> Slices[None]:
        """One round. window: how many of the oldest held-out events the probes do not look at any more. Raises
        StateError, DiskFull: then nothing was lost."""
        if self._is_far(state):
            yield from self._compact(state)
        came, keep = self._store.newest_event() + self._store.newest_completion(), self._state.keep_events
        while self._store.drop_bodies(keep, self._learn.max_uses, window, AT_ONCE) == AT_ONCE:
            yield
        while self._store.forget_completions(keep, AT_ONCE) == AT_ONCE:
            yield
        self._swept = came

    def _compact(self, state: State) -> Slices[None]:
        data = pack(state.delta)
        yield
        self._store.save_snapshot(state.version, data)
        self._behind = 0
        yield
        keep, rows = self._state.keep_versions, self._store.rows()
        good = max(self._standing(rows), default=0)
        snapshots = self._store.snapshots()
        gone = compaction.plan(rows, snapshots, compaction.oldest(state.version, keep, [good]))
        if gone.rows or gone.snapshots:
            yield
            self._store.compact(gone.rows, gone.snapshots)
            log.info(
                "%d versions were compacted; %d snapshots are no longer needed", *map(len, (gone.rows, gone.snapshots))
            )

    def _standing(self, rows: list[ledger.Row]) -> list[int]:
        """Versions to which a failed probe may go back: they passed and were not taken back."""
        taken = ledger.undone(rows)
        return [version for version in self._store.passed_versions() if version not in taken]

    def _is_far(self, state: State) -> bool:
        if state.attempt != self._seen:
            new = self._store.rows_since(self._seen)
            if self._seen < 0 or any(row.kind == "rollback" for row in new):
                self._behind = len(ledger.way(self._store.rows(), self._store.snapshots(), state.version)[1])
            else:
                self._behind += sum(row.version is not None for row in new)
            self._seen = state.attempt
        return self._behind >= compaction.spacing(self._state.keep_versions)

    def _is_full(self) -> bool:
        newest = (self._store.newest_event(), self._store.newest_completion())
        keep = self._state.keep_events
        return max(newest) > keep and sum(newest) - self._swept >= min(STRIDE, max(1, keep))
