"""The workers as the serving machine sees them: started, checked, handed work by availability, lost, replaced.

Who holds another base, or draws other noise, is refused with both sides named. Who dies, hangs or answers with an
error is dismissed, and another is started in its place when the next step begins.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_es.cluster import rays
from edge_es.cluster.rays import ClusterError
from edge_es.cluster.way import Ways
from edge_es.cluster.worker import Facts
from edge_es.config import ModelSection, WorkersSection
from edge_es.evaluator import Scores
from edge_es.likelihood import Text

Standing = Literal["starting", "idle", "busy", "lost", "refused"]
LOOK = 0.01  # seconds that a slice waits for whoever comes back
LOADING = 600.0  # seconds that a worker may take to load its model


@dataclass
class Hand:
    """A worker. version: where it stands. ticket: of the call in hand; share: the pairs that it is of, None where
    nobody waits for them any more. members, seconds: scored so far. reason: why it is lost or refused."""

    number: int
    actor: Any
    ticket: Any
    since: float
    standing: Standing = "starting"
    device: str | None = None
    version: int | None = None
    share: range | None = None
    members: int = 0
    seconds: float = 0.0
    failures: int = 0
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "worker": self.number,
            "state": self.standing,
            "device": self.device,
            "version": self.version,
            "members": self.members,
            "members_per_second": self.members / self.seconds if self.seconds else None,
            "failures": self.failures,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Back:
    """What came back of a share: its scores, or why there are none."""

    share: range
    scores: Scores | None
    reason: str | None


class Crew:
    """model, budget: of each worker. own: what the serving machine's base is. protected: see `Worker.equip`."""

    def __init__(
        self, settings: WorkersSection, model: ModelSection, budget: str, own: Facts, protected: Sequence[Text]
    ) -> None:
        self._settings, self._model, self._budget, self._own = settings, model, budget, own
        self._protected = protected
        self.hands: list[Hand] = []

    def muster(self) -> None:
        """Connects where there is no connection, and starts whoever is missing. Raises ClusterError."""
        rays.connect(self._settings)
        for number in range(self._settings.count):
            if number == len(self.hands):
                self.hands.append(self._hired(number, 0))
            elif self.hands[number].standing == "lost":
                self.hands[number] = self._hired(number, self.hands[number].failures)

    def _hired(self, number: int, failures: int) -> Hand:
        actor = rays.hire(self._model, self._budget, self._settings)
        return Hand(number, actor, actor.facts.remote(), time.monotonic(), failures=failures)

    def working(self) -> bool:
        """Whether anyone may still come back with something."""
        return any(hand.standing in ("starting", "idle", "busy") for hand in self.hands)

    def hand_out(self, waiting: list[range], ask: Any, version: int, ways: Ways) -> None:
        """A share to each idle worker, as long as there are any; `ask` was `put`. Who is behind follows first."""
        for hand in self.hands:
            if not waiting or hand.standing != "idle":
                continue
            if hand.version != version:
                hand.actor.follow.remote(ways(version, hand.version))  # calls of one worker keep their order
                hand.version = version
            hand.share = waiting.pop(0)
            hand.ticket, hand.since = hand.actor.score.remote(ask, hand.share), time.monotonic()
            hand.standing = "busy"

    def collect(self, seconds: float) -> list[Back]:
        """What came back within so long. Who takes longer than settings.patience is lost."""
        out = {hand.ticket: hand for hand in self.hands if hand.standing in ("starting", "busy")}
        done = rays.ready(list(out), seconds)
        found: list[Back] = []
        for ticket, hand in out.items():
            patience = LOADING if hand.standing == "starting" else self._settings.patience
            if ticket in done:
                found += self._came(hand)
            elif time.monotonic() - hand.since > patience:
                found += self._lose(hand, f"no answer for {patience:g} s")
        return found

    def _came(self, hand: Hand) -> list[Back]:
        try:
            value = rays.result(hand.ticket)
        except ClusterError as error:
            return self._lose(hand, str(error))
        if hand.standing == "starting":
            self._check(hand, value)
            return []
        hand.standing, share, hand.share = "idle", hand.share, None
        if share is None:
            return []
        hand.members += 2 * len(share)
        hand.seconds += time.monotonic() - hand.since
        return [Back(share, value, None)]

    def _check(self, hand: Hand, facts: Facts) -> None:
        hand.device = facts.device
        for what in ("base_sha256", "quantization", "generator"):
            theirs, ours = getattr(facts, what), getattr(self._own, what)
            if theirs != ours:
                hand.standing, hand.reason = "refused", f"its {what} is {theirs}, the serving machine's is {ours}"
                rays.dismiss(hand.actor)
                return
        hand.actor.equip.remote(self._protected)
        hand.standing = "idle"

    def _lose(self, hand: Hand, reason: str) -> list[Back]:
        rays.dismiss(hand.actor)
        hand.standing, hand.reason, share, hand.share = "lost", reason, hand.share, None
        hand.failures += 1
        return [Back(share, None, reason)] if share is not None else []

    def forget(self) -> None:
        """Nobody waits for what is in hand any more: a turn was dropped."""
        for hand in self.hands:
            hand.share = None

    def reasons(self) -> str:
        """Why there is nobody, in one line."""
        known = {hand.reason for hand in self.hands if hand.reason}
        return "; ".join(sorted(known)) or "no worker has started"
