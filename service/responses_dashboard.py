"""What the dashboard's own addresses answer, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.fate_table import State
from service.responses import Answer, Events, Learning, Number
from service.schemas import Uuid

Verdict = Literal["kept", "suspect", "dropped"]


class Week(Answer):
    """The last seven days. lessons: events that a published step used."""

    published: int
    rejected: int
    rollbacks: int
    lessons: int


class Forgotten(Answer):
    """Whether anything is forgotten, in a word and in a sentence."""

    answer: Literal["no", "perhaps", "yes", "unknown"]
    sentence: str


class SuiteNow(Answer):
    """A suite's newest result."""

    suite: str
    learned: Annotated[bool, Field(description="made of held-out feedback: its reference is its best version")]
    version: int
    kind: str
    items: int
    score: Number
    anchor: Number
    retention: Number
    ci_low: Number
    ci_high: Number
    verdict: Verdict


class Overview(Answer):
    """What the dashboard says at a glance."""

    model: str | None
    quantization: str | None
    device: str | None
    version: int | None
    learning: Learning
    events: Events
    ready: bool
    delta_norm: Number
    walk_ratio: Number
    week: Week
    forgotten: Forgotten
    learned: str
    suites: list[SuiteNow]


class Norms(Answer):
    """Of the versions that are shown: norms of the delta and of steps, and the walk ratio."""

    version: list[int]
    delta_norm: list[Number]
    walk_ratio: list[Number]
    step_norm: list[Number]


class FitnessLines(Answer):
    """Mean fitness over the versions that are shown."""

    version: list[int]
    kinds: Annotated[dict[str, list[Number]], Field(description="raw mean by kind of event")]


class SuiteLine(Answer):
    """A suite's retention over its rounds, with 95% intervals."""

    suite: str
    learned: bool
    version: list[int]
    retention: list[Number]
    ci_low: list[Number]
    ci_high: list[Number]


class Mark(Answer):
    """A rollback. automatic: the probes asked for it, not a person."""

    version: int
    target: int | None
    at: str
    automatic: bool


class History(Answer):
    """Thinned: of a run of versions the lowest retention, the last norms, the mean fitness."""

    first: int
    last: int
    newest: int
    norms: Norms
    fitness: FitnessLines
    retention: list[SuiteLine]
    rollbacks: list[Mark]


class StorySuite(Answer):
    """What a suite came to in the round before a rollback."""

    suite: str
    kind: str
    items: int
    retention: Number
    ci_low: Number
    ci_high: Number
    verdict: Verdict
    after: Annotated[Number, Field(description="retention after the rollback, where it was probed")]


class StoryItem(Answer):
    """An item of a suite, with its scores at the anchor, before the rollback and after."""

    suite: str
    item: int
    asked: str | None
    right: str | None
    anchor: float
    before: float
    after: Number


class StoryEvent(Answer):
    """An event that the rollback set aside."""

    id: str
    kind: str
    state: State
    reason: str | None
    input: dict[str, Any] | None


class Story(Answer):
    """Why a rollback was made, and what it changed."""

    version: int
    target: int
    before: Annotated[int, Field(description="the version that was served until then")]
    at: str
    reason: str | None
    automatic: bool
    first_bad: int | None
    last_good: int | None
    suites: list[StorySuite]
    items: Annotated[list[StoryItem], Field(description="of the dropped suites, those that score unlike the anchor")]
    items_changed: int
    events: list[StoryEvent]
    events_used: int


class ServedAnswer(Answer):
    """One choice of a served completion."""

    text: str
    finish_reason: str


class Inference(Answer):
    """A served completion, as it is kept for feedback."""

    id: Uuid
    version: int
    kind: Literal["chat", "text"]
    input: dict[str, Any]
    answers: list[ServedAnswer]
    created_at: str
