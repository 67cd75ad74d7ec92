"""What the API answers about retention: rounds, single items, and which feedback was to blame."""

from typing import Any, Literal

from pydantic import Field

from service.responses import Answer, Number


class RetentionRow(Answer):
    """A row of `edge-es retention log`: a suite's score at a version, with its confidence interval."""

    version: int
    suite: str
    kind: str
    items: int
    score: float
    anchor: Number
    retention: Number
    ci_low: Number
    ci_high: Number
    verdict: Literal["kept", "suspect", "dropped"]
    at: str


class RetentionItem(Answer):
    """One item of a suite: its score, and the anchor's."""

    suite: str
    item: int
    anchor: Number
    score: float


class Retention(Answer):
    """Probe results, oldest first."""

    retention: list[RetentionRow]


class RetentionLog(Retention):
    """Probe results, and those of single items where they were asked for."""

    items: list[RetentionItem] = Field([], description="with `items=true`")


class SuiteRow(Answer):
    """A row of `edge-es probe list`; without a result where the anchor was not scored on it yet."""

    suite: str
    kind: str
    items: int
    version: int | None
    score: Number
    anchor: Number
    retention: Number
    verdict: Literal["kept", "suspect", "dropped"] | None


class Suites(Answer):
    """The suites that are measured, and those that were, by name."""

    suites: list[SuiteRow]


class BlamedEvent(Answer):
    """An event that the first bad version used."""

    id: str
    kind: str
    input: dict[str, Any]


class BlameRow(Answer):
    """A rollback whose first bad version is known."""

    version: int
    target: int | None
    first_bad: int
    last_good: int
    suites: list[str]
    events: list[BlamedEvent]
    at: str
    reason: str | None


class Blame(Answer):
    """Rollbacks whose first bad version is known, oldest first."""

    blame: list[BlameRow]
