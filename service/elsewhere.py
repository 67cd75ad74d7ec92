"""Members evaluated elsewhere, as the daemon has it: the driver of a cluster, how its workers stand, and why learning
does not go on where it does not."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from edge_es import noise
from edge_es.cluster.driven import Driven
from edge_es.cluster.link import Begin
from edge_es.cluster.way import Way, onward, way_to
from edge_es.cluster.worker import Facts
from edge_es.config import Config
from edge_es.errors import StateError
from edge_es.evaluator import Evaluator
from edge_es.likelihood import Text
from edge_es.model import Base
from service.store import Store

log = logging.getLogger(__name__)
AGAIN = 10.0  # seconds until a cluster that failed is tried once more


class Elsewhere:
    """Nothing where `workers.evaluator` is in_process. trouble: why no step is learned by the cluster; None: none is
    known of. Used by the device thread; `rows` by any."""

    def __init__(self, base: Base, config: Config, store: Store) -> None:
        self._base, self._config, self._store = base, config, store
        self._driven: Driven | None = None
        self.trouble: str | None = None
        self._again = 0.0

    def evaluator(self, protected: Sequence[Text]) -> Evaluator | None:
        """protected: what `Ask.near` counts, the same from call to call. None: this process evaluates."""
        if self._config.workers.evaluator == "in_process":
            return None
        if self._driven is None:
            own = Facts(self._base.sha256, self._base.quantization, noise.GENERATOR, str(self._base.device))
            budget = self._config.learn.memory_budget
            begin = Begin(self._config.workers, self._config.model, budget, own, tuple(protected))
            self._driven = Driven(begin, self._way)
        return self._driven

    def _way(self, version: int, at: int | None) -> Way:
        """By the newest rows alone where a worker is a little behind: the ledger may be long."""
        row = self._store.row_of(at) if at is not None else None
        if row is not None and at is not None:
            with suppress(StateError):  # a rollback went to before it
                return onward(self._store, [row, *self._store.rows_since(row.attempt)], version, at)
        return way_to(self._store, version, None)

    def failed(self, reason: str) -> None:
        """No step by the cluster for now; tried again a little later."""
        if reason != self.trouble:
            log.warning("no learning by the workers: %s", reason)
        self.trouble, self._again = reason, time.monotonic() + AGAIN

    def went_on(self) -> None:
        """A step was evaluated."""
        self.trouble = None

    def may_try(self) -> bool:
        """Whether it is worth to ask the cluster, as far as is known."""
        return self.trouble is None or time.monotonic() >= self._again

    def rows(self) -> list[Mapping[str, Any]] | None:
        """How the workers stood when they were last heard of; None: there are to be none."""
        if self._config.workers.evaluator == "in_process":
            return None
        return list(self._driven.workers) if self._driven is not None else []

    def close(self) -> None:
        """Ends the driver; does not wait for it."""
        if self._driven is not None:
            self._driven.close()
