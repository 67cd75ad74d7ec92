"""Feedback as the learner sees it: plain values, no store, no HTTP, no tensors.

An event comes in over the API, is stored as it came, and is resolved once (a served completion is looked up) into
one of the five kinds below. Everything after that works on `Event`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["demonstration", "preference", "rating", "task", "comment"]
KINDS: tuple[Kind, ...] = ("demonstration", "preference", "rating", "task", "comment")


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """What an answer answers: a chat (`messages`), or raw text that is continued (`text`). Exactly one is set."""

    messages: tuple[Message, ...] = ()
    text: str | None = None

    def as_json(self) -> dict[str, Any]:
        """{"messages": [...]} or {"prompt": "..."}: the API's `input`."""
        if self.text is not None:
            return {"prompt": self.text}
        return {"messages": [{"role": m.role, "content": m.content} for m in self.messages]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Prompt":
        """The inverse of `as_json`; the caller has validated the shape."""
        if "prompt" in value:
            return Prompt(text=value["prompt"])
        return Prompt(tuple(Message(m["role"], m["content"]) for m in value["messages"]))

    @staticmethod
    def user(content: str) -> "Prompt":
        """A chat of one user message."""
        return Prompt((Message("user", content),))


@dataclass(frozen=True)
class Exchange:
    """A prompt with one answer to it. `ended` is False where the answer was cut by a length limit."""

    prompt: Prompt
    answer: str
    ended: bool = True


@dataclass(frozen=True)
class Drawn:
    """The member that gave a served answer, so that it can be drawn again: pair `pair` of noise (seed, step) at `sigma`
    in the basis of this sha256, with its sign (+1 or -1)."""

    seed: int
    step: int
    pair: int
    sign: int
    sigma: float
    basis: str

    @property
    def family(self) -> str:
        """Members of one family perturb one basis with one stream of noise: a single step can be made of them."""
        return family(self.seed, self.step, self.basis)


def family(seed: int, step: int, basis: str) -> str:
    """As `Drawn.family` has it."""
    return f"{seed}/{step}/{basis}"


@dataclass(frozen=True)
class Event:
    """One piece of feedback, resolved.

    demonstration  exchanges = (prompt with the better answer,)
    preference     exchanges = (chosen, rejected)
    rating         exchanges = the served completion, or all of an episode; `value` is the rating, larger is better,
                   already turned round for metrics that are minimised; `metric` names it; `member`: the one that
                   gave the completion, where a version did not
    task           exchanges = (prompt with an empty answer,); `grader` says how an answer is graded
    comment        exchanges = what it speaks of; not learned from
    """

    id: str
    kind: Kind
    exchanges: tuple[Exchange, ...]
    metric: str | None = None
    value: float | None = None
    grader: Mapping[str, Any] | None = None
    comment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    member: Drawn | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, for the store; `from_json` is the inverse."""
        answered = {"member": asdict(self.member)} if self.member is not None else {}
        return {
            "id": self.id,
            "kind": self.kind,
            "exchanges": [{"input": e.prompt.as_json(), "answer": e.answer, "ended": e.ended} for e in self.exchanges],
            "metric": self.metric,
            "value": self.value,
            "grader": dict(self.grader) if self.grader is not None else None,
            "comment": self.comment,
            "tags": dict(self.tags),
            **answered,
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "Event":
        """The inverse of `as_json`."""
        exchanges = tuple(Exchange(Prompt.from_json(e["input"]), e["answer"], e["ended"]) for e in row["exchanges"])
        rest = {k: row[k] for k in ("id", "kind", "metric", "value", "grader", "comment", "tags")}
        member = Drawn(**row["member"]) if row.get("member") else None
        return Event(exchanges=exchanges, member=member, **rest)
