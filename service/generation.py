"""What the API and the device thread say to each other. Imports no torch, so that the API does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edge_es.errors import EdgeError
from edge_es.feedback import Drawn

if TYPE_CHECKING:
    from edge_es.answers import Sampling, TokenLogprob


class Busy(EdgeError):
    """Too many requests wait already."""


@dataclass(frozen=True)
class Piece:
    """Some more of one choice's answer. The last piece of a choice has a `finish_reason`, or an `error`.

    text: what may be shown since the last piece. version: the one that answers, itself or by its member; the same in
    all pieces, as the member is. prompt_logprobs: in the first piece, where the request asks for its prompt's.
    """

    choice: int
    text: str
    tokens: tuple[int, ...]
    version: int
    logprobs: tuple["TokenLogprob", ...] = ()
    finish_reason: Literal["stop", "length"] | None = None
    error: str | None = None
    member: Drawn | None = None
    prompt_logprobs: tuple["TokenLogprob", ...] = ()


@dataclass
class Generation:
    """One request for answers: a prompt, and a sampling for each choice.

    prompts: where choices have prompts of their own, one a choice; `prompt_ids` is then the longest of them.
    deliver: called on the device thread; must not block. repeatable: the client counts on getting the same answer
    again. pinned: the version that must answer; None: the one that is served. cancelled: set by the API when nobody
    listens any more.
    """

    id: str
    prompt_ids: tuple[int, ...]
    samplings: list["Sampling"]
    deliver: Callable[[Piece], None]
    repeatable: bool = False
    pinned: Literal[0] | None = None
    cancelled: bool = False
    prompts: tuple[tuple[int, ...], ...] = ()

    def prompt(self, choice: int) -> tuple[int, ...]:
        """What this choice answers."""
        return self.prompts[choice] if self.prompts else self.prompt_ids

    def fail(self, message: str) -> None:
        """Ends all choices before any version has answered."""
        for choice in range(len(self.samplings)):
            self.deliver(Piece(choice, "", (), 0, error=message))


@dataclass(frozen=True)
class LiveStatus:
    """What only the running daemon knows. memory: {budget_bytes, base_bytes, peak_bytes, batches_halved}. seconds: of
    the device's time since it was ready, by what it was used for: serving, learning (probes, too), waiting.
    workers: how those elsewhere stand (`Hand.as_json`); None: this process evaluates."""

    version: int
    learning: Literal["active", "idle", "paused"]
    reason: str | None
    device: str
    model: str
    quantization: str
    memory: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    workers: Sequence[Mapping[str, Any]] | None = None
