"""Events that are withheld from learning: those that wait for a review, those that it rejected, and duplicates."""

import json
from collections.abc import Callable, Sequence

from edge_es.errors import InputError
from service.event_table import EventTable


class NotInReview(InputError):
    """What is to be approved or rejected does not wait for it."""


class NoSuchEvent(InputError):
    """An id that is not known."""


class ReviewTable(EventTable):
    """The part of the store that lets withheld events go, or never."""

    def in_review(self) -> list[str]:
        """Ids of the events that wait for a review, oldest first."""
        return [row["id"] for row in self.query("SELECT id FROM events WHERE withheld = 'review' ORDER BY seq")]

    def approve(self, ids: Sequence[str], held_out: Callable[[str], bool]) -> None:
        """Lets these events be learned from, or only probed; also those that were rejected. All or none; durable when
        it returns. Raises NoSuchEvent, NotInReview."""
        with self.transaction() as db:
            self._require(ids, ("review", "rejected"), "approved")
            self._hold_out(one for one in ids if held_out(one))
            db.execute(
                """UPDATE events SET withheld = NULL, reason = NULL, state = 'pending'
                   WHERE id IN (SELECT value FROM json_each(?))""",
                (json.dumps([one for one in ids if not held_out(one)]),),
            )

    def reject(self, ids: Sequence[str], reason: str) -> None:
        """Keeps these events, and never learns from them. All or none; durable when it returns. Raises NoSuchEvent,
        NotInReview."""
        with self.transaction() as db:
            self._require(ids, ("review",), "rejected")
            db.execute(
                """UPDATE events SET withheld = 'rejected', reason = ?
                   WHERE id IN (SELECT value FROM json_each(?))""",
                (reason, json.dumps(list(ids))),
            )

    def _require(self, ids: Sequence[str], states: Sequence[str], what: str) -> None:
        fates = {fate.id: fate for fate in self.event_fates("id IN (SELECT value FROM json_each(?))", json.dumps(ids))}
        for one in ids:
            if one not in fates:
                raise NoSuchEvent(f"there is no feedback {one}; nothing was {what}", "ids")
            if fates[one].state not in states:
                raise NotInReview(
                    f"feedback {one} is {fates[one].state}, not in review; nothing was {what}: leave it out", "ids"
                )
