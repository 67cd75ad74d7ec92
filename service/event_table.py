"""Feedback events: stored as sent, handed to the learner, never lost and never counted twice."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from edge_es.batch import capped, order
from edge_es.errors import InputError, StateError
from edge_es.feedback import Event
from service.clock import now
from service.fate_table import FateTable, text_list


class Conflict(InputError):
    """An id comes again with another body."""


def canonical(body: Mapping[str, Any]) -> str:
    """One text for equal bodies, whatever the order of their keys. The id and `dryrun` do not count."""
    said = {key: value for key, value in body.items() if key not in ("id", "dryrun") and value is not None}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# For turns. Ratings of what a member answered are for one live step instead, unless they were released.
_ORDINARY = "state = 'pending' AND family IS NULL AND dropped IS NULL"
_FRESH, _USED = f"{_ORDINARY} AND uses = 0", f"{_ORDINARY} AND uses > 0"
_RATED = "state = 'pending' AND family = ? AND uses = 0"

# Of events that were used before, so many of the newest and so many places among the older ones are drawn from.
NEWEST, OLDER = 1024, 1024

# Nobody will read these again: set aside, used up, duplicates, or held out and older than what the probes look at.
_SPENT = """(state = 'set_aside' OR withheld = 'duplicate'
             OR state = 'pending' AND (uses >= :max_uses OR family IS NOT NULL AND uses > 0)
             OR state = 'held_out' AND held <= :window)"""


class EventTable(FateTable):
    """The part of the store that keeps events."""

    def repeats(self, event_id: str, body: Mapping[str, Any]) -> bool:
        """Has this very event come before? Raises Conflict if its id has come with another body."""
        row = self.query_one("SELECT body, dropped FROM events WHERE id = ?", event_id)
        if row is None:
            return False
        said = canonical(body)
        if row["body"] != said if row["dropped"] is None else row["dropped"] != _digest(said):
            raise Conflict(f"id {event_id} was used for other feedback; send new feedback with a new id", param="id")
        return True

    def add_event(
        self,
        event: Event,
        body: Mapping[str, Any],
        held_out: bool,
        review: bool = False,
        content: str | None = None,
        weight: Callable[[str | None], float] = lambda source: 1.0,
    ) -> bool:
        """Durable when it returns. False if the same event was there already.

        `body` is the feedback as it was sent. review: it waits for one, unless nothing is learned from its kind.
        content: `duplicates.digest`; where an event of the same content is there, from a source of at least the same
        weight, this one is kept as its duplicate. Raises Conflict (same id, other body) or DiskFull.
        """
        source = event.tags.get("source")
        values = (
            event.id,
            now(),
            canonical(body),
            json.dumps(event.as_json(), ensure_ascii=False),
            event.kind,
            source,
            event.member.family if event.member else None,
            f"{event.member.pair}/{event.member.sign}" if event.member else None,
            content,
        )
        comment = event.kind == "comment"

        def write() -> bool:
            if self.repeats(event.id, body):
                return False
            state = "kept" if comment else "held_out" if held_out else "pending"
            withheld, reason = None, None
            twin = self._twin(content, weight, weight(source))
            if twin is not None:
                state, withheld, reason = "kept", "duplicate", f"the same as feedback {twin}"
            elif review and not comment:
                state, withheld = "kept", "review"
            self._db.execute(
                "INSERT INTO events"
                " (id, received_at, body, event, kind, source, family, member, content, state, withheld, reason, held)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, state, withheld, reason, self.count_held_out() + 1 if state == "held_out" else None),
            )
            return True

        return self.together(write)

    def _twin(self, content: str | None, weight: Callable[[str | None], float], own: float) -> str | None:
        """The oldest event of this content whose source weighs at least `own`: else who is hardly believed could keep
        others from being heard, by saying the same before them. Not one that was set aside and can never be retried."""
        same = "content = ? AND withheld IS NOT 'duplicate' AND NOT (state = 'set_aside' AND dropped IS NOT NULL)"
        rows = self.query(f"SELECT id, source FROM events WHERE {same} ORDER BY seq", content) if content else []
        return next((row["id"] for row in rows if weight(row["source"]) >= own), None)

    def pending(self, limit: int, max_uses: int) -> list[tuple[Event, int]]:
        """Events to learn from with the turns each has served: fewest uses first, then oldest first."""
        rows = self.query(
            f"SELECT event, uses FROM events WHERE {_ORDINARY} AND uses < ? ORDER BY uses, seq LIMIT ?",
            max_uses,
            limit,
        )
        return [(Event.from_json(json.loads(row["event"])), row["uses"]) for row in rows]

    def count_waiting(self, max_uses: int = 1) -> int:
        """Events that no turn has used yet, if a turn may use any."""
        return self._count(f"{_ORDINARY} AND uses = 0 AND uses < ?", max_uses)

    def count_usable(self, max_uses: int) -> int:
        """Events that have served fewer than `max_uses` turns."""
        return self._count(f"{_ORDINARY} AND uses < ?", max_uses)

    def _count(self, condition: str, *values: Any) -> int:
        return int(self.query(f"SELECT count(*) FROM events WHERE {condition}", *values)[0][0])

    def next_batch(
        self, size: int, seed: int, max_uses: int, chance: Callable[[str], float], share: float = 1.0
    ) -> list[tuple[Event, int]]:
        """At most `size` events to learn from, with the turns each has served: those that have served none, oldest
        first, then a sample of the others, so that a flood does not wash out what came before.

        chance: of an event's id, its weight in the draw, which is by `seed`. share: as `feedback.max_share`.
        """
        fresh = self._fresh(size) if max_uses > 0 else []
        used = self._used(seed, max_uses)
        drawn = order([chance(row["id"]) * row["stands_for"] for row in used], random.Random(seed))
        candidates = [*fresh, *(used[i] for i in drawn)]
        chosen = capped([row["source"] for row in candidates], size, share)
        rows = self.query(
            """SELECT event, uses FROM events WHERE seq IN (SELECT value FROM json_each(?))
               ORDER BY uses > 0, seq""",
            json.dumps([candidates[i]["seq"] for i in chosen]),
        )
        return [(Event.from_json(json.loads(row["event"])), row["uses"]) for row in rows]

    def _fresh(self, size: int) -> list[Mapping[str, Any]]:
        """The oldest `size` of each source that no turn has used, oldest first; a source is found from the last one by
        the index, so that a flood of one costs nothing."""
        which = f"INDEXED BY events_fresh WHERE {_FRESH}"
        after = f"SELECT source FROM events {which} AND source > {{}} ORDER BY source LIMIT 1"
        rows = self.query(
            f"""WITH RECURSIVE sources (source) AS (
                  SELECT ({after.format("''")})
                  UNION ALL SELECT ({after.format("sources.source")}) FROM sources WHERE source IS NOT NULL)
                SELECT seq, events.source FROM sources CROSS JOIN events WHERE seq IN (
                  SELECT seq FROM events {which} AND source IS sources.source ORDER BY seq LIMIT ?)
                ORDER BY seq""",
            size,
        )
        return [dict(row) for row in rows]

    def _used(self, seed: int, max_uses: int) -> list[dict[str, Any]]:
        """Those that turns have used and may use again, oldest first: all of them, or the newest with a sample of the
        older ones, of which each stands for so many."""
        which = f"FROM events INDEXED BY events_used WHERE {_USED} AND uses < ?"
        newest = self.query(f"SELECT seq, id, source {which} ORDER BY seq DESC LIMIT ?", max_uses, NEWEST)
        found = [{**row, "stands_for": 1.0} for row in map(dict, reversed(newest))]
        if len(newest) < NEWEST:
            return found
        first = self.query(f"SELECT min(seq) FROM events INDEXED BY events_used WHERE {_USED}")[0][0]
        places: Sequence[int] = range(first, found[0]["seq"])
        stands_for = max(1.0, len(places) / OLDER)
        if stands_for > 1:
            places = random.Random(f"older {seed}").sample(places, OLDER)
        older = self.query(
            f"""SELECT seq, id, source FROM events WHERE {_USED} AND uses < ?
                AND seq IN (SELECT value FROM json_each(?)) ORDER BY seq""",
            max_uses,
            json.dumps(list(places)),
        )
        return [*({**row, "stands_for": stands_for} for row in map(dict, older)), *found]

    def may_learn(self, max_uses: int, least: int) -> bool:
        """Whether so many events wait that no turn has used, or learning has begun: it goes on until its events are
        used up."""
        begun = self.query(f"SELECT 1 FROM events WHERE {_ORDINARY} AND uses BETWEEN 1 AND ? LIMIT 1", max_uses - 1)
        return bool(begun) or len(self.query(f"SELECT 1 FROM events WHERE {_FRESH} LIMIT ?", least)) >= least

    def count_rated(self, family: str) -> int:
        """Members of this family whose ratings wait for a live step."""
        return int(self.query(f"SELECT count(DISTINCT member) FROM events WHERE {_RATED}", family)[0][0])

    def rated(self, family: str, limit: int) -> list[Event]:
        """Ratings of this family's members that no step has used, oldest first."""
        rows = self.query(f"SELECT event FROM events WHERE {_RATED} ORDER BY seq LIMIT ?", family, limit)
        return [Event.from_json(json.loads(row["event"])) for row in rows]

    def release(self, family: str | None) -> int:
        """Lets ratings of members of other families than this one serve the turns, as ratings of any answer do, if no
        step has used them. Returns how many there were."""
        others = "state = 'pending' AND family IS NOT NULL AND family IS NOT ? AND uses = 0"
        if not self.query(f"SELECT 1 FROM events WHERE {others} LIMIT 1", family):
            return 0
        with self.transaction() as db:
            return db.execute(f"UPDATE events SET family = NULL WHERE {others}", (family,)).rowcount

    def metric_means(self) -> dict[str, float]:
        """Mean rating of each metric over all events that were or may be learned from and are still kept whole."""
        rows = self.query("SELECT metric, total / number AS mean FROM ratings WHERE number > 0")
        return {row["metric"]: row["mean"] for row in rows}

    def held_out(self, limit: int = 1000, skip: int = 0) -> list[Event]:
        """At most `limit` held-out events, without the first `skip` that ever were, in the order in which they became
        held out: an approval appends. Scores are paired by place, so nothing may come in between."""
        wanted = "SELECT event FROM events WHERE state = 'held_out' AND held > ? ORDER BY held LIMIT ?"
        rows = self.query(wanted, skip, limit)
        return [Event.from_json(json.loads(row["event"])) for row in rows]

    def count_held_out(self) -> int:
        """Events that were ever held out."""
        return int(self.query("SELECT coalesce(max(held), 0) FROM events WHERE held IS NOT NULL")[0][0])

    def events(self, ids: Sequence[str]) -> list[Event]:
        """The events of these ids that the store holds whole, oldest first."""
        ids_only = "dropped IS NULL AND id IN (SELECT value FROM json_each(?))"
        wanted = f"SELECT event FROM events WHERE {ids_only} ORDER BY seq"
        return [Event.from_json(json.loads(row["event"])) for row in self.query(wanted, text_list(ids))]

    def events_between(self, first_version: int, last_version: int) -> list[str]:
        """Ids of the events used by versions first..last, both included; oldest first."""
        rows = self.query(
            """SELECT id FROM events WHERE id IN (
                 SELECT event_id FROM event_uses JOIN ledger USING (attempt) WHERE version BETWEEN ? AND ?
               ) ORDER BY seq""",
            first_version,
            last_version,
        )
        return [row["id"] for row in rows]

    def set_aside(self, ids: Iterable[str], reason: str, was: Literal["pending", "held_out"] = "pending") -> int:
        """Takes waiting events out of learning, or held-out ones out of the probes, and says why. Returns how many."""
        with self.transaction() as db:
            return db.execute(
                """UPDATE events SET state = 'set_aside', reason = ?
                   WHERE state = ? AND id IN (SELECT value FROM json_each(?))""",
                (reason, was, text_list(ids)),
            ).rowcount

    def retry(self, ids: Sequence[str]) -> int:
        """Lets set-aside events wait again, as fresh ones, but for those whose body was dropped; one that was held out
        is so again, as the newest. Returns how many."""
        which = "state = 'set_aside' AND dropped IS NULL AND id IN (SELECT value FROM json_each(?))"
        with self.transaction() as db:
            held = db.execute(f"SELECT id FROM events WHERE {which} AND held IS NOT NULL", (text_list(ids),)).fetchall()
            self._hold_out([row["id"] for row in held])
            return (
                len(held)
                + db.execute(
                    f"UPDATE events SET state = 'pending', uses = 0, published = 0, reason = NULL WHERE {which}",
                    (text_list(ids),),
                ).rowcount
            )

    def _hold_out(self, ids: Iterable[str]) -> None:
        """In the caller's transaction: behind those that are held out already, in this order."""
        for number, one in enumerate(ids, self.count_held_out() + 1):
            self._db.execute(
                "UPDATE events SET state = 'held_out', withheld = NULL, reason = NULL, held = ? WHERE id = ?",
                (number, one),
            )

    def _use(self, attempt: int, ids: Sequence[str], published: bool) -> None:
        """Records, in the caller's transaction, what an attempt used. Raises StateError on unknown events."""
        db = self._db
        listed = text_list(ids)
        db.execute(
            """INSERT INTO event_uses (event_id, attempt)
               SELECT id, ? FROM events WHERE id IN (SELECT value FROM json_each(?))""",
            (attempt, listed),
        )
        changed = db.execute(
            f"""UPDATE events SET uses = uses + 1 {", published = 1" if published else ""}
                WHERE id IN (SELECT value FROM json_each(?))""",
            (listed,),
        ).rowcount
        if changed != len(set(ids)):
            raise StateError(f"attempt {attempt} names events that the store does not hold")

    def drop_bodies(self, keep: int, max_uses: int, window: int, limit: int) -> int:
        """Drops what at most `limit` events said, of those that are older than the newest `keep` and will not be read
        again: used up at `max_uses`, set aside, or held out and not among the newest held-out ones from the `window`-th
        on. Their ids, fates and uses stay. Returns how many were dropped."""
        with self.transaction() as db:
            first = db.execute("SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?", (keep,)).fetchone()
            if first is None:
                return 0
            found = db.execute(
                f"""SELECT seq, body FROM events
                    WHERE dropped IS NULL AND seq <= :last AND {_SPENT} ORDER BY seq LIMIT :limit""",
                {"last": first[0], "max_uses": max_uses, "window": window, "limit": limit},
            ).fetchall()
            db.executemany(
                "UPDATE events SET body = '{}', event = '{}', dropped = ? WHERE seq = ?",
                [(_digest(row["body"]), row["seq"]) for row in found],
            )
        return len(found)
