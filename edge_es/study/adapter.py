"""The arms of edge-es: the learner's own turn under a configuration, guarded or not."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from edge_es.batch import capped, order
from edge_es.config import Config
from edge_es.feedback import Event
from edge_es.focus import SCOUT_EVENTS, SCOUTS
from edge_es.learner import shares, turn
from edge_es.ledger import MemoryJournal, Row, anchor_row
from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.spaces.weights import weight_of
from edge_es.state import Surroundings, resume
from edge_es.study.change import Moved


class EdgeES:
    """A `Learner`. Rejected attempts count as steps: their members were evaluated."""

    def __init__(self, base: Base, config: Config, events: Sequence[Event], protected: Sequence[Text]) -> None:
        self.base, self._events, self._config = base, {event.id: event for event in events}, config
        self.journal = MemoryJournal()
        self.journal.append(anchor_row(), {})
        self._around = Surroundings(base, config, self.journal, protected, {}, recall=self._recall)
        self._state = resume(self.journal, base.device)
        self._rng = random.Random(config.search.seed)
        self._begun = False
        self._waiting: list[str] = []
        self.evaluations = 0

    def receive(
        self, events: Sequence[Event], keep: int | None = None, centres: Mapping[str, float] | None = None
    ) -> None:
        """Further events, as a daemon gets them: the next steps learn from these first, then from all. Of all, the
        newest `keep` stay; None: all do. `centres`: the running means of the metrics by now."""
        self._events |= {event.id: event for event in events}
        surplus = 0 if keep is None else max(0, len(self._events) - keep)
        for one in list(self._events)[:surplus]:
            del self._events[one]
        self._waiting = [one for one in (*self._waiting, *(event.id for event in events)) if one in self._events]
        if centres is not None:
            self._around = replace(self._around, centres=centres)

    def _recall(self, ids: Sequence[str]) -> list[Event]:
        return [self._events[one] for one in ids if one in self._events]

    @property
    def delta(self) -> Delta:
        return self._state.delta

    @property
    def walk(self) -> float:
        return self._state.walk

    def step(self) -> None:
        seen = len(self.journal.rows())
        ids = [one for one in self._events if one not in self._waiting]
        doubting = self._config.feedback.clip > 0
        candidates = [
            *self._waiting,
            *(ids[i] for i in order([self._state.chance(one, doubting) for one in ids], self._rng)),
        ]
        sources = [self._events[one].tags.get("source") for one in candidates]
        chosen = capped(sources, self._state.batch_size(self._config), self._config.feedback.max_share)
        drawn = {candidates[i] for i in chosen}
        new = [one for one in self._waiting if one in drawn]
        self._waiting = [one for one in self._waiting if one not in drawn]
        some = [self._events[one] for one in (*new, *(one for one in ids if one in drawn))]
        self._state = run(turn(self._state, some, bool(new) or not self._begun, self._around))
        self._begun = True
        self.evaluations += evaluations(self.journal.rows()[seen:], self._config)

    @torch.no_grad()
    def moved(self) -> Iterator[Moved]:
        """Every linear, those included that the search leaves alone; each by what the delta does to the unit vectors of
        its inputs, so that no search space needs to be known here."""
        for name in self.base.layers:
            linear = self.base.model.get_submodule(name)
            before = weight_of(linear, torch.float32)
            change = before.new_zeros(1, linear.in_features, linear.out_features)
            self.delta.add(name, linear, torch.eye(linear.in_features, device=before.device)[None], change)
            yield Moved(f"{name}.weight", before, change[0].T)


def evaluations(rows: Sequence[Row], config: Config) -> int:
    """Members times the items of the feedback that they were scored on, the search for the blocks that matter
    included; the protected texts whose KL joins the fitness are not."""
    total, drawn = 0, max([config.learn.batch, *(len(row.events) for row in rows)])
    for row in rows:
        if row.kind == "step":
            groups = shares(row.population // 2, row.events, config.learn.groups)
            total += sum(2 * len(pairs) * len(own) for pairs, own in groups)
        scouts = 2 * SCOUTS * len(row.stats.get("scouted", {}))
        total += scouts * min(SCOUT_EVENTS, drawn)
    return total
