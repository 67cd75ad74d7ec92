"""What the device does when no request needs it: probe the anchor, learn, probe, roll back. Runs on the device thread.

Everything that must survive a restart is in the store; what is here is derived from it (`edge_es.state.resume`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_es import bisection, ledger, retention
from edge_es.adoption import adopt
from edge_es.cluster.rays import ClusterError
from edge_es.config import Config
from edge_es.errors import InputError, StateError, TooLarge
from edge_es.feedback import Event
from edge_es.fitness import texts_of
from edge_es.learner import turn
from edge_es.likelihood import Text
from edge_es.memory import Plan, plan
from edge_es.model import Base
from edge_es.oversize import too_large
from edge_es.probes.scoring import Encoded, encode, require_room
from edge_es.probes.suites import Suite, learned_suites
from edge_es.protected import protected_texts
from edge_es.rows import Row
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta
from edge_es.state import State, Surroundings, resume
from service.elsewhere import Elsewhere
from service.exploring import Exploring
from service.exporting import Read, adopted
from service.generation import Generation
from service.references import prior_suites, reference
from service.serving import Answerer
from service.store import Store
from service.upkeep import Upkeep

log = logging.getLogger(__name__)
LEARNED_WINDOW, LEARNED_STRIDE = 1000, 500  # held-out events in the learned suites; by how many the window moves
TURNED_OFF = "learning is turned off by learn.enabled"
Announce = Callable[[str, dict[str, Any]], None]


class Teaching:
    """The learning side of the engine. `state` is replaced only after a row is durable."""

    def __init__(self, base: Base, config: Config, store: Store, announce: Announce) -> None:
        self._base, self._config, self._store, self._announce = base, config, store, announce
        if not store.rows():
            store.append(ledger.anchor_row(), {})
        self.state = resume(store, base.device)
        self._suites = prior_suites(base, config, store.folder)
        self._digests = {suite.name: suite.digest for suite in self._suites}
        store.put_setting("suites", {one.name: {"kind": one.kind, "items": len(one.items)} for one in self._suites})
        self._encoded: list[Encoded] | None = None
        self._protected: list[Text] | None = None
        self._forced = False
        self._halted: str | None = None
        self._exploring = Exploring(config, store)
        self._anchor = Delta()  # one object, by which its keys and values are known
        self._upkeep = Upkeep(config, store)
        self.elsewhere = Elsewhere(base, config, store)

    def answerer(self, generation: Generation) -> Answerer:
        """What answers this request: the version that stands, or a member of it; the anchor, where that is asked."""
        if generation.pinned == 0:
            return Answerer(self._anchor, 0)
        return self._exploring.answerer(self.state, generation)

    def next_work(self) -> Slices[None] | None:
        """What to do next, or None when there is nothing to do."""
        if self._halted and not self._forced:
            return self._tidy()  # no more: what failed would fail again, for ever
        if self._anchor_is_unknown():
            return self._probe_anchor()
        if self._forced or self._unprobed() >= self._config.probes.every:
            return self._probe()
        if tidying := self._tidy():
            return tidying
        if self.paused() is None and self.elsewhere.may_try():
            if self._exploring.rated(self.state):
                return self._learn(self._exploring.step)
            if self._can_learn():
                return self._turn()
            if self._exploring.wanted(self.state):
                return self._explore()
        return self._probe() if self._unprobed() else None

    def force_probe(self) -> None:
        """The next work is a probe round."""
        self._forced = True

    def probe_is_wanted(self) -> bool:
        """A round that was asked for has not begun yet."""
        return self._forced

    def paused(self) -> str | None:
        """Why learning is paused, or None."""
        if not self._config.learn.enabled:
            return TURNED_OFF
        if self._halted:
            return self._halted
        setting = self._store.get_setting("learning") or {}
        return str(setting.get("reason") or "paused") if setting.get("paused") else None

    def pause(self, reason: str) -> None:
        """Until `resume`, over restarts too."""
        self._exploring.end()  # nobody would learn from what a member's answer is rated
        self._store.put_setting("learning", {"paused": True, "reason": reason})
        self._announce("learning", {"state": "paused", "reason": reason})

    def halt(self, reason: str) -> None:
        """Work failed: pauses, goes back to what the journal says, and tries nothing again before it is told to.

        Raises DiskFull where the pause cannot be kept over a restart; it holds until then all the same.
        """
        self._forced = False
        self._halted = reason  # first: whatever else fails, nothing is tried again
        try:
            self.reload()
        except Exception as error:  # a damaged row may raise anything, and so may a device without memory
            self._halted = reason = f"{reason}; and the ledger does not replay: {str(error) or type(error).__name__}"
            self._upkeep.failed = True  # it works on the version that stands, which is not known
        self.pause(reason)

    def resume(self) -> None:
        """Learning goes on."""
        self._store.put_setting("learning", {"paused": False, "reason": None})
        self._store.put_setting("rollbacks_in_a_row", 0)
        self._halted, self._upkeep.failed = None, False
        self._announce("learning", {"state": "active", "reason": None})

    def reload(self) -> None:
        """To what the journal says, where it went on without this state: a rollback, or work dropped half-way."""
        rows = self._store.rows_since(self.state.attempt)
        if rows:
            self.state = resume(self._store, self._base.device)
            self._told(rows)

    def roll_back(self, target: int, reason: str) -> int:
        """A new version with the delta of `target`. Raises StateError."""
        ledger.rebuild(self._store, target)  # what does not replay must not become the version to go on from
        version = self._record_rollback(target, reason, {})
        self.reload()
        return version

    def adopt(self, found: Read) -> dict[str, Any]:
        """The delta of an import as a new version: {version, rank, delta_norm, sha256}. Raises StateError."""
        found.delta.same_space(self._config.search.space)
        row = adopt(self._store, found.delta, found.reason, found.stats)
        self._announce("version", {"attempt": row.attempt, "version": row.version, "kind": row.kind})
        self.reload()
        return adopted(row)

    def _record_rollback(self, target: int, reason: str, stats: Mapping[str, Any]) -> int:
        row = ledger.rollback(self._store, target, reason, stats)
        assert row.version is not None
        self._announce("rollback", {"version": row.version, "target": target, "reason": reason})
        return row.version

    def _tidy(self) -> Slices[None] | None:
        """Upkeep, where there is any to do: also where nothing is to be learned, since feedback comes all the same."""
        return self._upkeep.next_work(self.state, lambda: self._setting("learned_window", {"skip": 0})["skip"])

    # learning

    def _can_learn(self) -> bool:
        learn = self._config.learn
        return self._store.may_learn(learn.max_uses, learn.min_events)

    def _turn(self) -> Slices[None]:
        learn = self._config.learn
        section, state = self._config.feedback, self.state
        chosen = self._store.next_batch(
            state.batch_size(self._config),
            state.attempt,
            learn.max_uses,
            lambda one: state.chance(one, section.clip > 0),
            section.max_share,
        )
        fresh = any(uses == 0 for _, uses in chosen)
        events = self._readable([event for event, _ in chosen])
        if not events:
            return
        try:
            yield from self._learn(lambda state, around: turn(state, events, fresh, around))
        except TooLarge:
            self.reload()
            if not self._stand_aside(events, self._room(beside=self._noise_bytes()), rows=2):
                raise

    def _learn(self, attempt: Callable[[State, Surroundings], Slices[State]]) -> Slices[None]:
        """One attempt of either kind, and the news of it."""
        around = yield from self._surroundings()
        before = self.state
        try:
            self.state = yield from attempt(before, around)
        except ClusterError as error:  # the attempt is dropped whole; the cluster may come back
            self.elsewhere.failed(str(error))
            self.reload()
            self._announce("learning", {"state": "paused", "reason": self.elsewhere.trouble})
            return
        self.elsewhere.went_on()
        self._told(self._store.rows_since(before.attempt))

    def _told(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._announce("version", {"attempt": row.attempt, "version": row.version, "kind": row.kind})

    def _explore(self) -> Slices[None]:
        yield from self._exploring.restock(self.state, (yield from self._surroundings()))

    def _surroundings(self) -> Slices[Surroundings]:
        if self._protected is None:
            self._protected = yield from protected_texts(self._base, self._config.guards.protect, self._room())
        return Surroundings(
            base=self._base,
            config=self._config,
            journal=self._store,
            protected=self._protected,
            centres=self._store.metric_means(),
            step_scale=self._setting("step_scale", 1.0),
            recall=self._store.events,
            evaluator=self.elsewhere.evaluator(self._protected),
        )

    def _readable(self, events: list[Event]) -> list[Event]:
        """Events that fit the model and have a weight; the others are set aside with the reason."""
        good = []
        for event in events:
            source = event.tags.get("source", "")
            try:
                if self._config.feedback.weight(source) == 0:
                    raise InputError(f"feedback.weights gives its source '{source}' the weight 0")
                texts_of(self._base, event)
            except InputError as error:
                self._store.set_aside([event.id], str(error))
            else:
                good.append(event)
        return good

    def _stand_aside(self, events: list[Event], room: Plan, rows: int) -> int:
        """Sets aside what the budget cannot hold by itself, with the reason. Returns how many there were."""
        found = too_large(self._base, events, room, self._config.learn.task_tokens, rows)
        for one, reason in found.items():
            self._store.set_aside([one], reason, "pending" if rows > 1 else "held_out")
        return len(found)

    def _noise_bytes(self) -> int:
        """Of one step's members."""
        element = self._base.dtype.itemsize
        parts, pairs = self.state.delta.parts, self._config.search.population // 2
        return self.state.delta.active.basis.noise_bytes(pairs, element, False) if parts else 0

    def _room(self, beside: int = 0) -> Plan:
        """What the memory budget leaves for a batch that no population shares. beside: bytes held meanwhile."""
        return plan(self._base, self.state.delta, self._config.learn.memory_budget, noise_bytes=beside)

    # probing

    def _anchor_is_unknown(self) -> bool:
        """Suites that are new or were edited need the anchor's scores before anything is compared with them."""
        return (self._store.get_setting("suite_digests") or {}) != self._digests

    def _encoded_suites(self) -> list[Encoded]:
        """The prior suites as tokens, made once. Raises InputError naming an item that does not fit the model."""
        if self._encoded is None:
            self._encoded = [encode(self._base, suite) for suite in self._suites]
        return self._encoded

    def _probe_anchor(self) -> Slices[None]:
        suites = self._encoded_suites()
        found = yield from retention.probe_round(
            self._base, Delta(), 0, suites, lambda suite: {}, self._config.probes, self._room()
        )
        self._store.save_probe(0, found.at, found.results, found.scores)
        self._store.put_setting("suite_digests", self._digests)
        self._announce("probe", {"version": 0, "dropped": []})

    def _unprobed(self) -> int:
        """Versions since the last probe round."""
        return self.state.version - self._store.newest_probed()

    def _probe(self) -> Slices[None]:
        version = self.state.version
        suites = [*self._encoded_suites(), *self._learned_suites(version)]
        found = yield from self._round(version, self.state.delta, suites, self._room())
        blame: bisection.Blame | None = None
        if found.dropped and version > 0:
            self._forced = True  # an interruption from here on: the drop is found again before anything is learned
            blame = yield from self._search(found, suites)
        self._forced = False
        # One transaction: a crash leaves no verdict without its rollback, and no rollback whose events wait again.
        with self._store.transaction():
            self._store.save_probe(version, found.at, found.results, found.scores)
            self._announce("probe", {"version": version, "dropped": [result.suite for result in found.dropped]})
            if found.dropped and version > 0:
                self._take_back(found, blame)
            elif self._setting("rollbacks_in_a_row", 0) and self._last_rollback() < version:
                # Probes pass again on something learned since: the step may grow back.
                self._store.put_setting("rollbacks_in_a_row", 0)
                self._store.put_setting("step_scale", min(1.0, 2 * self._setting("step_scale", 1.0)))
        self.reload()  # a replay takes time, in which no transaction keeps feedback waiting

    def _round(self, version: int, delta: Delta, suites: Sequence[Encoded], room: Plan) -> Slices[retention.Round]:
        return retention.probe_round(self._base, delta, version, suites, self._reference, self._config.probes, room)

    def _search(self, found: retention.Round, suites: Sequence[Encoded]) -> Slices[bisection.Blame | None]:
        """The first bad version. None where it cannot be named, and the last good one has to do."""
        good, lost = self._target(found), retention.lost(found, suites)
        room = self._room(beside=self.state.delta.bytes())  # the newest good one is held beside the one looked at

        def look(version: int, delta: Delta) -> Slices[retention.Round]:
            return self._round(version, delta.to(self._base.device), lost, room)

        def whole(version: int, delta: Delta) -> Slices[retention.Round]:
            return self._round(version, delta.to(self._base.device), suites, room)

        try:
            blame = yield from bisection.search(self._store, good, found, look, whole)
        except StateError as error:
            log.warning("the first bad version stays unknown: %s", error)
            blame = None
        if blame is None:
            ledger.rebuild(self._store, good)  # what does not replay must not become the version to go on from
        return blame

    def _held_out(self, version: int) -> list[Event]:
        """The newest held-out events. Their window moves in strides, since scores are paired item by item: what was
        measured before it moved is no reference any more."""
        skip = max(0, -(-(self._store.count_held_out() - LEARNED_WINDOW) // LEARNED_STRIDE) * LEARNED_STRIDE)
        if skip != self._setting("learned_window", {"skip": 0, "since": 0})["skip"]:
            self._move_window(skip, version)
        return self._store.held_out(LEARNED_WINDOW, skip)

    def _move_window(self, skip: int, version: int) -> None:
        """Where this version was probed before, that was of the former window: the next one is the first reference."""
        since = version + 1 if self._store.newest_probed() >= version else version
        self._store.put_setting("learned_window", {"skip": skip, "since": since})

    def _learned_suites(self, version: int) -> list[Encoded]:
        """Of held-out feedback, as tokens. What the budget cannot hold is left out for good, so that places pair."""
        events, room = self._held_out(version), self._room()
        suites = learned_suites(events, self._config.learn.task_tokens)
        found = [encode(self._base, suite) for suite in suites]
        try:
            for encoded in found:
                require_room(self._base, encoded, room)
        except TooLarge:
            with self._store.transaction():
                if not self._stand_aside(events, room, rows=1):
                    raise
                self._move_window(self._setting("learned_window", {"skip": 0})["skip"], version)
            return self._learned_suites(version)
        return found

    def _target(self, found: retention.Round) -> int:
        passed, snapshots = self._store.passed_versions(), self._store.snapshots()
        return retention.rollback_target(self._store.rows(), snapshots, passed, found.version)

    def _take_back(self, found: retention.Round, blame: bisection.Blame | None) -> None:
        rows, reason = self._store.rows(), retention.why(found)
        target = blame.target if blame else self._target(found)
        if ledger.published(rows)[target].sha256 == self.state.delta.sha256:
            self.pause(f"{reason}, though its delta is that of version {target}; run `edge-es verify`")
            return
        span = self._store.events_between(target + 1, found.version)
        suspects = {f"used by versions {target + 1} to {found.version}, rolled back": tuple(span)}
        if blame:
            reason, suspects = f"{reason}; the first bad version is {blame.first_bad}", blame.suspects
        self._record_rollback(target, reason, blame.stats() if blame else {})
        self._forced = True  # the version that is served now is probed before anything else is learned
        for what, events in suspects.items():
            self._store.set_aside(events, f"{what}: {reason}")
        if self._config.rollback.halve_step:
            self._store.put_setting("step_scale", self._setting("step_scale", 1.0) / 2)
        in_a_row = self._setting("rollbacks_in_a_row", 0) + 1
        self._store.put_setting("rollbacks_in_a_row", in_a_row)
        if in_a_row >= self._config.rollback.max_in_a_row:
            self.pause(f"{in_a_row} rollbacks in a row; last: {reason}")

    def _last_rollback(self) -> int:
        versions = [row.version for row in self._store.rows() if row.kind == "rollback" and row.version is not None]
        return max(versions, default=0)

    def _reference(self, suite: Suite) -> Mapping[str, list[float]]:
        return reference(self._store, suite, self._setting("learned_window", {"since": 0})["since"])

    def _setting(self, key: str, default: Any) -> Any:
        value = self._store.get_setting(key)
        return default if value is None else value
