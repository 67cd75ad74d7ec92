"""What the API answers, for its OpenAPI document. The tests hold the API to it; nothing is checked at run time."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.event_table import State
from service.schemas import Uuid

Learning = Literal["active", "idle", "paused"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Refusal(Answer):
    message: str
    type: str
    param: Annotated[str | None, Field(description="the field or header that is wrong")]
    code: Annotated[str | None, Field(description="for programs")]


class ErrorBody(Answer):
    """Every refusal, in OpenAI's shape."""

    error: Refusal


# health


class Alive(Answer):
    status: Literal["ok"]


class Ready(Answer):
    status: Literal["ready"]


# answers


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenLogprob(Answer):
    token: str
    logprob: float
    bytes: list[int]


class TokenChoices(TokenLogprob):
    top_logprobs: list[TokenLogprob]


class ChatLogprobs(Answer):
    content: list[TokenChoices]
    refusal: None


class AssistantMessage(Answer):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Answer):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class Head(Answer):
    id: Annotated[Uuid, Field(description="the inference id, for feedback")]
    created: int
    model: str
    system_fingerprint: Annotated[str, Field(pattern="^edge-es-v[0-9]+$")]


class ChatCompletion(Head):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(Answer):
    role: Literal["assistant"] = "assistant"
    content: str = ""


class ChatChunkChoice(Answer):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class ChatCompletionChunk(Head):
    """The data of one event of a streamed chat completion."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class TextLogprobs(Answer):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Answer):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(Head):
    """A text completion, or the data of one event of a streamed one."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: Usage | None = None


class Model(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["edge-es"]


class Models(Answer):
    object: Literal["list"]
    data: list[Model]


# feedback


class Accepted(Answer):
    feedback_id: Uuid


class Approved(Answer):
    approved: list[Uuid]


class Dismissed(Answer):
    rejected: list[Uuid]


class LineAccepted(Answer):
    line: int
    feedback_id: Uuid
    repeated: Literal[True] = True


class LineRefused(Answer):
    line: int
    error: Refusal


class Lines(Answer):
    results: list[LineAccepted | LineRefused]


class Fate(Answer):
    id: Uuid
    kind: Literal["demonstration", "preference", "rating", "task", "comment"]
    state: State
    reason: str | None
    used_in: list[int]
    received_at: str
    feedback: Annotated[dict[str, Any] | None, Field(description="null where it was too old to be kept")]


class Fates(Answer):
    feedback: list[Fate]


# administration


class Events(Answer):
    pending: int
    used: int
    set_aside: int
    review: int


class Memory(Answer):
    budget_bytes: int | None
    base_bytes: int | None
    peak_bytes: int | None
    batches_halved: int | None


class Kept(Answer):
    score: float
    anchor: float | None
    retention: float | None
    verdict: Literal["kept", "suspect", "dropped"]


class Status(Answer):
    version: int | None
    model: str | None
    quantization: str | None
    device: str | None
    learning: Learning
    reason: str | None
    events: Events
    memory: Memory
    retention: dict[str, Kept]


class LearningState(Answer):
    learning: Learning
    reason: str | None


Number = float | None


class Version(Answer):
    attempt: int
    version: int | None
    parent: int | None
    kind: Literal["anchor", "step", "rollback", "basis", "consolidate", "import"]
    created_at: str
    events: list[str]
    population: int | None
    fitness_mean: float | dict[str, float] | None
    fitness_reliability: Number
    tie_rate: Number
    novelty_share: Number
    step_norm: Number
    delta_norm: Number
    walk_ratio: Number
    sparsity: Number
    sha256: str | None
    state: Literal["published", "rejected", "rolled_back"]
    reason: str | None


class Versions(Answer):
    versions: list[Version]


class RolledBack(Answer):
    version: int
    target: int


class Verified(Answer):
    versions: int
    replayed: int
    mismatches: int
    compacted: int
    since: int
    base_sha256: str
    ok: bool


class Exported(Answer):
    """An export, as it lies on the daemon's machine."""

    kind: Literal["peft", "merged", "delta"]
    version: int
    path: str
    files: list[str]
    bytes: int
    notes: list[str]


class Imported(Answer):
    """The version that an import has become."""

    kind: Literal["peft", "delta"]
    version: int
    rank: Annotated[int | None, Field(description="null where the search space has none")]
    delta_norm: float
    sha256: str


class RetentionRow(Answer):
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
    suite: str
    item: int
    anchor: Number
    score: float


class Retention(Answer):
    retention: list[RetentionRow]


class RetentionLog(Retention):
    items: Annotated[list[RetentionItem], Field(description="with `items=true`")] = []


class BlamedEvent(Answer):
    id: str
    kind: str
    input: dict[str, Any]


class BlameRow(Answer):
    version: int
    target: int | None
    first_bad: int
    last_good: int
    suites: list[str]
    events: list[BlamedEvent]
    at: str
    reason: str | None


class Blame(Answer):
    blame: list[BlameRow]
