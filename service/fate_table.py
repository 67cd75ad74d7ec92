"""What became of events: read by the API, the CLI and the dashboard; nothing here is learned from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edge_es.errors import InputError
from service.database import Database

State = Literal["pending", "held_out", "used", "set_aside", "kept", "review", "rejected", "duplicate"]


@dataclass(frozen=True)
class Fate:
    """An event as it was sent and what became of it."""

    id: str
    kind: str
    state: State
    reason: str | None
    used_in: tuple[int, ...]  # versions
    received_at: str
    body: Mapping[str, Any] | None  # None: it was dropped, its time being over

    def as_json(self) -> dict[str, Any]:
        """The answer of `GET /v1/feedback/{id}`."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "reason": self.reason,
            "used_in": list(self.used_in),
            "received_at": self.received_at,
            "feedback": self.body,
        }


def text_list(values: Iterable[str]) -> str:
    """For `IN (SELECT value FROM json_each(?))`: any number of values in one parameter."""
    return json.dumps(list(values))


class FateTable(Database):
    """Reads of the events table that change nothing."""

    def newest_event(self) -> int:
        """How many events have ever come."""
        return int(self.query("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def event_fate(self, event_id: str) -> Fate | None:
        """What became of one event."""
        found = self.event_fates("id = ?", event_id)
        return found[0] if found else None

    def event_fates_of(self, ids: Sequence[str]) -> list[Fate]:
        """What became of these events, oldest first."""
        return self.event_fates("id IN (SELECT value FROM json_each(?)) ORDER BY seq", text_list(ids))

    def count_used_since(self, attempt: int) -> int:
        """Events that published attempts from this one on used, each counted once."""
        found = self.query(
            """SELECT count(DISTINCT event_id) FROM event_uses JOIN ledger USING (attempt)
               WHERE attempt >= ? AND version IS NOT NULL""",
            attempt,
        )
        return int(found[0][0])

    def list_events(
        self, state: State | None = None, after: str | None = None, limit: int = 100, newest: bool = False
    ) -> list[Fate]:
        """Events oldest first, or newest first, from the one behind `after` on. Raises InputError for one that is not
        known."""
        since = self.query_one("SELECT seq FROM events WHERE id = ?", after) if after else None
        if after and since is None:
            raise InputError(f"there is no feedback {after}", param="after")
        behind, order = ("<", "DESC") if newest else (">", "ASC")
        which, values = ("fate = ? AND ", [state]) if state else ("", [])
        first = since["seq"] if since else 2**63 - 1 if newest else 0
        return self.event_fates(f"{which}seq {behind} ? ORDER BY seq {order} LIMIT ?", *values, first, limit)

    def event_fates(self, condition: str, *values: Any) -> list[Fate]:
        """Events by an SQL condition of this package's own making."""
        rows = self.query(
            f"""SELECT id, kind, fate AS state, reason, received_at, body, dropped,
                  (SELECT json_group_array(version) FROM (
                     SELECT version FROM event_uses JOIN ledger USING (attempt)
                     WHERE event_id = events.id AND version IS NOT NULL ORDER BY version)) AS used_in
                FROM events WHERE {condition}""",
            *values,
        )
        return [
            Fate(
                row["id"],
                row["kind"],
                row["state"],
                row["reason"],
                tuple(json.loads(row["used_in"])),
                row["received_at"],
                json.loads(row["body"]) if row["dropped"] is None else None,
            )
            for row in rows
        ]

    def count_events(self) -> dict[str, int]:
        """How many events are in each state; states without events are 0."""
        counts = dict.fromkeys(get_args(State), 0)
        return counts | {row["fate"]: row["number"] for row in self.query("SELECT fate, number FROM fates")}
