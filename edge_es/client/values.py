"""What the daemon answers, as frozen values. `raw` is its JSON, for what has no name here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A chat's answer. id: for feedback. text: of the first choice. version: the one that gave it. finish_reason:
    "stop" or "length". prompt_tokens, completion_tokens: how many were read, and written. raw: all of it, as JSON."""

    id: str
    text: str
    version: int
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    raw: Json = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Piece:
    """Some more of a streamed answer. id, version: of the answer, the same in all its pieces. text: to be put behind
    the earlier ones. The last one has a finish_reason."""

    id: str
    text: str
    version: int
    finish_reason: str | None = None


@dataclass(frozen=True)
class SuiteStatus:
    """A suite now. score, anchor: as of `RetentionRow`. retention: score over the anchor's; None where there is none.
    verdict: kept, suspect or dropped."""

    score: float
    anchor: float | None
    retention: float | None
    verdict: str


@dataclass(frozen=True)
class Status:
    """How the daemon stands. version: the served one; model: its reference; both None before the first start has loaded
    it. reason: why learning is paused. pending: events that wait to be learned from. retention: suite -> its newest
    result. raw: all of it, as JSON."""

    version: int | None
    model: str | None
    learning: Literal["active", "idle", "paused"]
    reason: str | None
    pending: int
    retention: Mapping[str, SuiteStatus]
    raw: Json = field(repr=False, compare=False)


@dataclass(frozen=True)
class Version:
    """An attempt. version: its number where it was published; parent: the version that it began at. kind: anchor, step,
    rollback, basis, consolidate or import. created_at: ISO 8601, UTC. events: ids of those it used. state: published,
    rejected or rolled_back; reason: why. raw: all of it, as JSON."""

    attempt: int
    version: int | None
    parent: int | None
    kind: str
    created_at: str
    events: tuple[str, ...]
    state: str
    reason: str | None
    raw: Json = field(repr=False, compare=False)


@dataclass(frozen=True)
class RetentionRow:
    """One suite of one version. kind: of the score. score, anchor: the mean over the items, of this version and of what
    it is held against: a share (0 to 1), for perplexity and kl nats a token. retention: their ratio, larger is better,
    with its 95% interval ci_low to ci_high; None where there is none. verdict: kept, suspect or dropped. at: ISO 8601,
    UTC."""

    version: int
    suite: str
    kind: str
    items: int
    score: float
    anchor: float | None
    retention: float | None
    ci_low: float | None
    ci_high: float | None
    verdict: str
    at: str


@dataclass(frozen=True)
class Fate:
    """What became of the event `id`. kind: demonstration, preference, rating, task or comment. state: pending, used,
    set_aside, review, held_out, rejected, duplicate or kept; reason: why. used_in: versions that learned from it. raw:
    all of it, with what was sent, as JSON."""

    id: str
    kind: str
    state: str
    reason: str | None
    used_in: tuple[int, ...]
    raw: Json = field(repr=False, compare=False)


def answer(found: Json) -> Answer:
    """Of a chat completion's JSON, its first choice."""
    choice, usage = found["choices"][0], found["usage"]
    return Answer(
        found["id"],
        choice["message"]["content"],
        version_of(found),
        choice["finish_reason"],
        usage["prompt_tokens"],
        usage["completion_tokens"],
        found,
    )


def piece(found: Json) -> Piece | None:
    """Of a chunk's JSON; None for one without a choice."""
    if not found["choices"]:
        return None
    choice = found["choices"][0]
    return Piece(found["id"], choice["delta"].get("content") or "", version_of(found), choice["finish_reason"])


def version_of(found: Json) -> int:
    """Of `system_fingerprint`, "edge-es-v<version>"."""
    return int(str(found["system_fingerprint"]).rsplit("v", 1)[1])


def status(found: Json) -> Status:
    """Of `GET /v1/status`."""
    suites = {
        name: SuiteStatus(one["score"], one["anchor"], one["retention"], one["verdict"])
        for name, one in found["retention"].items()
    }
    return Status(
        found["version"],
        found["model"],
        found["learning"],
        found["reason"],
        found["events"]["pending"],
        suites,
        found,
    )


def version(row: Json) -> Version:
    """Of a row of `GET /v1/versions`."""
    return Version(
        row["attempt"],
        row["version"],
        row["parent"],
        row["kind"],
        row["created_at"],
        tuple(row["events"]),
        row["state"],
        row["reason"],
        row,
    )


def retention_row(row: Json) -> RetentionRow:
    """Of a row of `GET /v1/retention`."""
    return RetentionRow(**{name: row[name] for name in RetentionRow.__dataclass_fields__})


def fate(row: Json) -> Fate:
    """Of `GET /v1/feedback/{id}`."""
    return Fate(row["id"], row["kind"], row["state"], row["reason"], tuple(row["used_in"]), row)
