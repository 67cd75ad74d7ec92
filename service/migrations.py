"""The store's schema as an ordered list of small functions; `PRAGMA user_version` counts how many have run.

A migration that has been released is never edited: a later one follows it.
"""

import sqlite3
from collections.abc import Callable

from edge_es.errors import StateError


def m001_meta_and_settings(db: sqlite3.Connection) -> None:
    """What the folder belongs to (written once), and what the daemon remembers (key to JSON)."""
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
    db.execute("CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")


def m002_completions(db: sqlite3.Connection) -> None:
    """Served answers, so that feedback can name one. `answers`: a JSON list of {"text", "finish_reason"}."""
    db.execute("""
        CREATE TABLE completions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL,
            version INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('chat', 'text')),
            input TEXT NOT NULL,
            answers TEXT NOT NULL,
            episode_id TEXT,
            prompt_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL
        ) STRICT""")
    db.execute("CREATE INDEX completions_episode ON completions (episode_id, seq) WHERE episode_id IS NOT NULL")


def m003_events(db: sqlite3.Connection) -> None:
    """Feedback as it was sent (`body`) and as the learner reads it (`event`); `uses`: turns it has served."""
    db.execute("""
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            received_at TEXT NOT NULL,
            body TEXT NOT NULL,
            event TEXT NOT NULL,
            kind TEXT NOT NULL,
            source TEXT,
            state TEXT NOT NULL CHECK (state IN ('pending', 'held_out', 'set_aside', 'kept')),
            uses INTEGER NOT NULL DEFAULT 0,
            reason TEXT
        ) STRICT""")
    db.execute("CREATE INDEX events_next ON events (state, uses, seq)")


def m004_ledger(db: sqlite3.Connection) -> None:
    """Attempts, and which events each one used. A rejected attempt has no version."""
    db.execute("CREATE TABLE ledger (attempt INTEGER PRIMARY KEY, version INTEGER UNIQUE, row TEXT NOT NULL) STRICT")
    db.execute("""
        CREATE TABLE event_uses (
            event_id TEXT NOT NULL REFERENCES events (id),
            attempt INTEGER NOT NULL REFERENCES ledger (attempt),
            PRIMARY KEY (event_id, attempt)
        ) STRICT, WITHOUT ROWID""")
    db.execute("CREATE INDEX event_uses_attempt ON event_uses (attempt)")


def m005_probes(db: sqlite3.Connection) -> None:
    """One round a version (a later round of it replaces the earlier), its suites, and their items (fp32)."""
    db.execute("""
        CREATE TABLE probe_rounds (
            version INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            passed INTEGER NOT NULL
        ) STRICT""")
    db.execute("""
        CREATE TABLE probe_results (
            version INTEGER NOT NULL REFERENCES probe_rounds (version) ON DELETE CASCADE,
            suite TEXT NOT NULL,
            kind TEXT NOT NULL,
            items INTEGER NOT NULL,
            score REAL, anchor REAL, retention REAL, ci_low REAL, ci_high REAL,
            verdict TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (version, suite, kind)
        ) STRICT""")
    db.execute("""
        CREATE TABLE probe_items (
            version INTEGER NOT NULL REFERENCES probe_rounds (version) ON DELETE CASCADE,
            suite TEXT NOT NULL,
            scores BLOB NOT NULL,
            PRIMARY KEY (version, suite)
        ) STRICT""")


def m006_members(db: sqlite3.Connection) -> None:
    """The member that gave an answer (JSON), and of a rating of such an answer the family that the member is of: until
    it is released to the ordinary turns, the event waits for a live step."""
    db.execute("ALTER TABLE completions ADD COLUMN member TEXT")
    db.execute("ALTER TABLE events ADD COLUMN family TEXT")
    db.execute("CREATE INDEX events_family ON events (family, seq) WHERE family IS NOT NULL")


def m007_trust(db: sqlite3.Connection) -> None:
    """`withheld`: an event that is kept out of learning for now or for good, beneath state 'kept': 'review', 'rejected'
    or 'duplicate'. `content`: a digest by which duplicates are known; events from before have none."""
    db.execute("ALTER TABLE events ADD COLUMN withheld TEXT CHECK (withheld IN ('review', 'rejected', 'duplicate'))")
    db.execute("ALTER TABLE events ADD COLUMN content TEXT")
    db.execute("CREATE INDEX events_withheld ON events (withheld, seq) WHERE withheld IS NOT NULL")
    db.execute("CREATE INDEX events_content ON events (content, seq) WHERE content IS NOT NULL")


def m008_retention(db: sqlite3.Connection) -> None:
    """Stored deltas from which a replay may begin; what of a ledger row no SQL asks for, deflated; of an event whose
    body was dropped its SHA-256, in hexadecimal, by which a repeat is still known."""
    db.execute("""
        CREATE TABLE snapshots (
            version INTEGER PRIMARY KEY REFERENCES ledger (version),
            blob TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            created_at TEXT NOT NULL
        ) STRICT""")
    db.execute("ALTER TABLE ledger ADD COLUMN packed BLOB")
    db.execute("ALTER TABLE events ADD COLUMN dropped TEXT")
    db.execute("CREATE INDEX events_bodies ON events (seq) WHERE dropped IS NULL")


def m009_tallies(db: sqlite3.Connection) -> None:
    """What is asked at every turn or look costs the same however much has come.

    `published`: a turn that used the event, since it was last let wait, made a version. `fate`: what people are told of
    its state. `held`: held-out events numbered as they became so, which an approval does later than others that came
    after it; `member`: of a rating, 'pair/sign'. Triggers keep the number of events of each fate, and of each metric
    the number and sum of the ratings that count, in the transaction that changes them.
    """
    db.execute("ALTER TABLE events ADD COLUMN published INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE events ADD COLUMN held INTEGER")
    db.execute("ALTER TABLE events ADD COLUMN member TEXT")
    db.execute("""ALTER TABLE events ADD COLUMN fate TEXT GENERATED ALWAYS AS
        (coalesce(withheld, CASE WHEN state = 'pending' AND published THEN 'used' ELSE state END)) VIRTUAL""")
    db.execute("""UPDATE events SET published = 1 WHERE uses > 0 AND EXISTS
        (SELECT 1 FROM event_uses JOIN ledger USING (attempt) WHERE event_id = events.id AND version IS NOT NULL)""")
    db.execute("""UPDATE events SET held = place FROM
        (SELECT seq AS which, row_number() OVER (ORDER BY seq) AS place FROM events WHERE state = 'held_out')
        WHERE seq = which""")
    db.execute("""UPDATE events SET member = json_extract(event, '$.member.pair') || '/'
        || json_extract(event, '$.member.sign') WHERE family IS NOT NULL AND dropped IS NULL""")
    db.execute("DROP INDEX events_next")  # the partial ones below are narrower, and the planner would not take them
    ordinary = "state = 'pending' AND family IS NULL AND dropped IS NULL"
    db.execute(f"CREATE INDEX events_turns ON events (uses, seq) WHERE {ordinary}")
    db.execute(f"CREATE INDEX events_fresh ON events (source, seq) WHERE {ordinary} AND uses = 0")
    db.execute(f"CREATE INDEX events_used ON events (seq, uses) WHERE {ordinary} AND uses > 0")
    db.execute("""CREATE INDEX events_rated ON events (family, member)
        WHERE state = 'pending' AND family IS NOT NULL AND uses = 0""")
    db.execute("CREATE UNIQUE INDEX events_held ON events (held) WHERE held IS NOT NULL")
    db.execute("CREATE INDEX events_fate ON events (fate, seq)")
    db.execute("CREATE INDEX probe_results_suite ON probe_results (suite, version)")
    _count_fates(db)
    _sum_ratings(db)


def _count_fates(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE fates (fate TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT")
    db.execute("INSERT INTO fates SELECT fate, count(*) FROM events GROUP BY fate")
    more = """INSERT INTO fates VALUES (NEW.fate, 1) ON CONFLICT (fate) DO UPDATE SET number = number + 1;"""
    db.execute(f"CREATE TRIGGER fates_come AFTER INSERT ON events BEGIN {more} END")
    db.execute(f"""CREATE TRIGGER fates_change AFTER UPDATE OF state, withheld, published ON events
        WHEN OLD.fate <> NEW.fate BEGIN
            UPDATE fates SET number = number - 1 WHERE fate = OLD.fate; {more}
        END""")


def _sum_ratings(db: sqlite3.Connection) -> None:
    metric, value = "json_extract({row}.event, '$.metric')", "json_extract({row}.event, '$.value')"
    counts = "{row}.kind = 'rating' AND {row}.state = 'pending' AND {row}.dropped IS NULL"
    old, new = counts.format(row="OLD"), counts.format(row="NEW")
    db.execute("CREATE TABLE ratings (metric TEXT PRIMARY KEY, number INTEGER NOT NULL, total REAL NOT NULL) STRICT")
    db.execute(f"""INSERT INTO ratings SELECT {metric.format(row="events")}, count(*), sum({value.format(row="events")})
        FROM events WHERE {counts.format(row="events")} GROUP BY 1""")
    more = f"""INSERT INTO ratings VALUES ({metric.format(row="NEW")}, 1, {value.format(row="NEW")})
        ON CONFLICT (metric) DO UPDATE SET number = number + 1, total = total + excluded.total;"""
    # From none on the sum is 0 again, whatever rounding has left.
    less = f"""UPDATE ratings SET number = number - 1,
        total = CASE number WHEN 1 THEN 0.0 ELSE total - {value.format(row="OLD")} END
        WHERE metric = {metric.format(row="OLD")};"""
    db.execute(f"CREATE TRIGGER ratings_come AFTER INSERT ON events WHEN {new} BEGIN {more} END")
    changed = "AFTER UPDATE OF state, dropped ON events"
    db.execute(f"CREATE TRIGGER ratings_go {changed} WHEN {old} AND NOT ({new}) BEGIN {less} END")
    db.execute(f"CREATE TRIGGER ratings_return {changed} WHEN {new} AND NOT ({old}) BEGIN {more} END")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    m001_meta_and_settings,
    m002_completions,
    m003_events,
    m004_ledger,
    m005_probes,
    m006_members,
    m007_trust,
    m008_retention,
    m009_tallies,
)


def schema_version(db: sqlite3.Connection) -> int:
    """How many migrations the file has seen."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def check(db: sqlite3.Connection, name: str) -> None:
    """Raises StateError where the file was written by another release; a reader must not migrate."""
    found = schema_version(db)
    if found > len(MIGRATIONS):
        raise StateError(f"{name} was written by a newer edge-es (schema {found}, not {len(MIGRATIONS)}); upgrade it")
    if found < len(MIGRATIONS):
        raise StateError(
            f"{name} was written by an older edge-es (schema {found}); start the daemon once to upgrade it"
        )


def migrate(db: sqlite3.Connection, name: str) -> None:
    """Runs what is missing, each migration in its own transaction. Raises StateError on a newer file."""
    for number, migration in enumerate(MIGRATIONS[schema_version(db) :], schema_version(db) + 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            migration(db)
            db.execute(f"PRAGMA user_version = {number}")  # part of the transaction
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    check(db, name)
