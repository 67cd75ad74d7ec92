"""What the API accepts. Unknown fields are errors, types are strict, numbers are finite."""

import re
import uuid
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from edge_es.feedback import Message, Prompt

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Body(BaseModel):
    """What every request body is: strict types, finite numbers, no unknown field."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


AnyBody = TypeVar("AnyBody", bound=Body)


def _uuid(value: Any) -> Any:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise PydanticCustomError("uuid", "must be a UUID such as 0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01")
    return str(uuid.UUID(value))


def _joined(value: Any) -> Any:
    """OpenAI's list of text parts as one text."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not (isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"):
            raise PydanticCustomError("content", "only text parts are supported: {'type': 'text', 'text': '...'}")
        if not isinstance(part["text"], str):
            raise PydanticCustomError("content", "the text of a part must be a string")
    return "".join(part["text"] for part in value)


def _whole(value: Any) -> Any:
    """1.0 is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and one >= 0 for one in value)


def _prompts(value: Any) -> Any:
    """OpenAI's four spellings of a prompt as a list of texts and of lists of token ids."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        value = [[_whole(one) for one in each] if isinstance(each, list) else _whole(each) for each in value]
        if _is_ids(value):
            return [value]
        if all(isinstance(one, str) for one in value) or all(map(_is_ids, value)):
            return value
    raise PydanticCustomError("prompt", "must be a text, token ids, or a list of either, and not an empty one")


_TEXT = {"type": "string", "minLength": 1}
_STOPS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}]}
_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_PROMPTS = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {**_IDS, "description": "token ids"},
        {"type": "array", "items": _IDS, "minItems": 1},
    ]
}
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}]}
Uuid = Annotated[str, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Tokens = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Few = Annotated[int, Field(ge=0, le=20), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63), BeforeValidator(_whole)]
Version = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Text = Annotated[str, Field(min_length=1)]
Prompts = Annotated[list[str | list[int]], BeforeValidator(_prompts), WithJsonSchema(_PROMPTS)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Stops = Annotated[list[Text], BeforeValidator(_stops), Field(max_length=4), WithJsonSchema(_STOPS)]
Content = Annotated[str, BeforeValidator(_joined), WithJsonSchema(_CONTENT)]


# answers


class ChatMessage(Body):
    """One turn of a chat; a content of text parts is joined."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content

    def message(self) -> Message:
        """As the model's chat template knows it; 'developer' is OpenAI's newer word for 'system'."""
        return Message("system" if self.role == "developer" else self.role, self.content)


class StreamOptions(Body):
    """OpenAI's options of a stream."""

    include_usage: bool = False


class AnswerRequest(Body):
    """What both kinds of completion share."""

    model: str
    max_tokens: Count | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: Count | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options need stream: true")
        return self

    def token_limit(self) -> int | None:
        """Most tokens of an answer, where the request says so."""
        return self.max_tokens

    def alternatives(self) -> int:
        """Alternatives to report a token; -1: report no log-probabilities."""
        raise NotImplementedError

    def asked(self) -> list[Prompt | list[int]]:
        """What is to be answered: prompts, or their token ids."""
        raise NotImplementedError

    def echoes(self) -> bool:
        """Whether the answer begins with the prompt."""
        return False


class ChatRequest(AnswerRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Few | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs needs logprobs: true")
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise PydanticCustomError("max_tokens", "max_tokens and max_completion_tokens differ; send one of them")
        return self

    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def alternatives(self) -> int:
        return (self.top_logprobs or 0) if self.logprobs else -1

    def asked(self) -> list[Prompt | list[int]]:
        return [Prompt(tuple(message.message() for message in self.messages))]


class CompletionRequest(AnswerRequest):
    """The body of `POST /v1/completions`. A prompt is a text or its token ids; several are answered together. What is
    asked of several prompts, of token ids, or with `echo` is taken for a measurement: it is answered, and not kept for
    feedback."""

    prompt: Prompts
    max_tokens: Tokens | None = None
    logprobs: Few | None = None
    echo: bool | None = None

    @model_validator(mode="after")
    def _an_echo(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("max_tokens", "max_tokens may be 0 only with echo: true")
        if self.echo and self.stream:
            raise PydanticCustomError("echo", "echo does not go with stream: true; take the whole answer")
        return self

    def alternatives(self) -> int:
        return -1 if self.logprobs is None else self.logprobs

    def asked(self) -> list[Prompt | list[int]]:
        return [Prompt(text=prompt) if isinstance(prompt, str) else prompt for prompt in self.prompt]

    def echoes(self) -> bool:
        return bool(self.echo)


# feedback


class Input(Body):
    """{"messages": [...]} or {"prompt": "..."}."""

    messages: list[ChatMessage] | None = Field(None, min_length=1)
    prompt: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.messages is None) == (self.prompt is None):
            raise PydanticCustomError("input", "give either messages or prompt")
        return self

    def asked(self) -> Prompt:
        """As the learner knows it."""
        if self.messages is None:
            return Prompt(text=self.prompt)
        return Prompt(tuple(message.message() for message in self.messages))


class Submission(Body):
    """What feedback and tasks share."""

    id: Uuid | None = None
    tags: dict[str, str] | None = None
    dryrun: bool | None = None


class Feedback(Submission):
    """The body of `POST /v1/feedback`: a value of a metric for a completion, a session or a prompt."""

    inference_id: Uuid | None = None
    episode_id: Text | None = None
    input: Input | None = None
    output: Text | None = None  # with `input`: the answer that is rated, given by whomever
    internal: Literal[False] | None = None  # TensorZero's client sends it
    metric_name: str
    value: Any  # its type depends on the metric: service.resolve

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(target is not None for target in (self.inference_id, self.episode_id, self.input)) != 1:
            raise PydanticCustomError("target", "give exactly one of inference_id, episode_id and input")
        return self


class Task(Submission):
    """The body of `POST /v1/tasks`: a prompt, and how an answer to it is graded."""

    input: Input
    grader: dict[str, Any]


# administration


class Rollback(Body):
    """The body of `POST /v1/rollback`."""

    version: Version
    reason: Text | None = None


class Pause(Body):
    """The body of `POST /v1/learning/pause`; may be left out."""

    reason: Text | None = None


class Export(Body):
    """What is to be exported, and as what: a name in the state folder's `exports/`."""

    kind: Literal["peft", "merged", "delta"]
    name: Name | None = Field(None, description="default: KIND-vVERSION")
    version: Version | None = Field(None, description="default: the one that is served")
    rank: Literal[8, 16, 32, 64, 128, 256, 512] | None = Field(
        None, description="of a PEFT adapter; default: the smallest that holds the delta exactly"
    )
    base_name: Text | None = Field(None, description="of a PEFT adapter: what stands in it as the base's name")


class Import(Body):
    """What is to be imported: a folder in the state folder's `imports/`."""

    kind: Literal["peft", "delta"]
    name: Name
    any_base: bool | None = Field(None, description="take a PEFT adapter whatever base it names")


_EITHER: list[JsonValue] = [
    {"properties": {one: {"not": {"type": "null"}}, other: {"type": "null"}}, "required": [one]}
    for one, other in (("ids", "all"), ("all", "ids"))
]


class Reviewed(Body):
    """Which events in review: {"ids": [...]} or {"all": true}."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _EITHER})

    ids: list[Uuid] | None = Field(None, min_length=1)
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is None) == (self.all is None):
            raise PydanticCustomError("ids", "give either ids or all: true")
        return self


class Rejected(Reviewed):
    """The body of `POST /v1/feedback/reject`."""

    reason: Text | None = None


class Nothing(Body):
    """A request that says all by its address."""
