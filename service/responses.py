"""What the API answers, for its OpenAPI document. The tests hold the API to it; nothing is checked at run time."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.fate_table import State
from service.schemas import Uuid

Learning = Literal["active", "idle", "paused"]


class Answer(BaseModel):
    """What every answer is: no field that is not declared."""

    model_config = ConfigDict(extra="forbid")


class Refusal(Answer):
    """Why a request was refused."""

    message: str
    type: str
    param: Annotated[str | None, Field(description="the field or header that is wrong")]
    code: Annotated[str | None, Field(description="for programs")]


class ErrorBody(Answer):
    """Every refusal, in OpenAI's shape."""

    error: Refusal


# health


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"]


class Ready(Answer):
    """The model is loaded."""

    status: Literal["ready"]


# answers


class Usage(Answer):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenLogprob(Answer):
    """A token's text, its log-probability in nats before temperature, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class TokenChoices(TokenLogprob):
    """A drawn token with the likeliest alternatives at its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(Answer):
    """Log-probabilities of a chat answer's tokens."""

    content: list[TokenChoices]
    refusal: None


class AssistantMessage(Answer):
    """The answer of a chat."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Answer):
    """One of the answers of a chat completion."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class Head(Answer):
    """What every completion and every chunk begins with."""

    id: Annotated[Uuid, Field(description="the inference id, for feedback")]
    created: int
    model: str
    system_fingerprint: Annotated[str, Field(pattern="^edge-es-v[0-9]+$")]


class ChatCompletion(Head):
    """The answers to a chat."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(Answer):
    """Some more of a streamed answer."""

    role: Literal["assistant"] = "assistant"
    content: str = ""


class ChatChunkChoice(Answer):
    """What one chunk adds to one of the answers."""

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
    """Log-probabilities of a text answer's tokens, in nats, with their places in the text."""

    tokens: list[str]
    token_logprobs: Annotated[list[float | None], Field(description="with `echo`, null for the first token")]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Answer):
    """One of the answers of a text completion."""

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
    """The model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["edge-es"]


class Models(Answer):
    """The models that are served: one."""

    object: Literal["list"]
    data: list[Model]


# feedback


class Accepted(Answer):
    """Feedback that is durable."""

    feedback_id: Uuid


class Approved(Answer):
    """The events that may be learned from now."""

    approved: list[Uuid]


class Dismissed(Answer):
    """The events that will never be learned from."""

    rejected: list[Uuid]


class LineAccepted(Answer):
    """A line of a batch that is durable; `repeated` where it was known already."""

    line: int
    feedback_id: Uuid
    repeated: Literal[True] = True


class LineRefused(Answer):
    """A line of a batch that was refused, and why."""

    line: int
    error: Refusal


class Lines(Answer):
    """What became of every line of a batch, in their order."""

    results: list[LineAccepted | LineRefused]


class Fate(Answer):
    """What became of an event: its state, and the versions that it was used in."""

    id: Uuid
    kind: Literal["demonstration", "preference", "rating", "task", "comment"]
    state: State
    reason: str | None
    used_in: list[int]
    received_at: str
    feedback: Annotated[dict[str, Any] | None, Field(description="null where it was too old to be kept")]


class Fates(Answer):
    """Events with what became of them, oldest first."""

    feedback: list[Fate]


# administration


class Events(Answer):
    """How many events are in which state."""

    pending: int
    used: int
    set_aside: int
    review: int


class Memory(Answer):
    """Bytes, and how often a batch had to be halved."""

    budget_bytes: int | None
    base_bytes: int | None
    peak_bytes: int | None
    batches_halved: int | None


class Kept(Answer):
    """The newest score of a suite over its reference."""

    score: float
    anchor: float | None
    retention: float | None
    verdict: Literal["kept", "suspect", "dropped"]


class Status(Answer):
    """The row of `edge-es status`."""

    version: int | None
    model: str | None
    quantization: str | None
    device: str | None
    learning: Learning
    reason: str | None
    events: Events
    memory: Memory
    retention: dict[str, Kept]


class Worker(Answer):
    """A worker elsewhere. members: scored so far; members_per_second: of the time that it scored."""

    worker: int
    state: Literal["starting", "idle", "busy", "lost", "refused"]
    device: str | None
    version: int | None
    members: int
    members_per_second: float | None
    failures: int
    reason: str | None


class Workers(Answer):
    """The rows of `edge-es workers`. reason: why no step is learned by them, where none is."""

    evaluator: Literal["in_process", "ray"]
    reason: str | None
    workers: list[Worker]


class LearningState(Answer):
    """Whether the daemon learns, and why not where it does not."""

    learning: Learning
    reason: str | None


Number = float | None


class Version(Answer):
    """A row of `edge-es versions`: an attempt, published or rejected."""

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
    """All attempts, oldest first."""

    versions: list[Version]


class RolledBack(Answer):
    """The new version, and the one whose delta it has."""

    version: int
    target: int


class Verified(Answer):
    """The row of `edge-es verify`: how many versions were replayed, and whether all was as recorded."""

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
