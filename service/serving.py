"""Requests on the decoder: who waits for which row, and what of it has been sent. Runs on the device thread."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_es.answers import Answer, Row
from edge_es.decode import Decoder
from edge_es.feedback import Drawn
from edge_es.model import Base
from edge_es.sidechannel import Weights
from service.generation import Generation, Piece


@dataclass(frozen=True)
class Answerer:
    """What answers one request, from its first token to its last: a version, or a member of it."""

    weights: Weights
    version: int
    member: Drawn | None = None


@dataclass
class _Choice:
    """One choice of a request: its row, what it is pinned to, and how much of it was delivered."""

    generation: Generation
    index: int
    answer: Answer
    by: Answerer
    sent: int = 0
    tokens: int = 0


class Serving:
    """All answers in the making. A row keeps the weights it began with: a request never changes version or member."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._decoder = Decoder(base)
        self._choices: list[_Choice] = []

    def __len__(self) -> int:
        return len(self._choices)

    def admit(self, generations: Sequence[Generation], by: Sequence[Answerer]) -> None:
        """Reads the prompts and delivers every choice's first token. by: what answers each of these requests."""
        wanted = [(g, w, i, s) for g, w in zip(generations, by, strict=True) for i, s in enumerate(g.samplings)]
        answers = self._decoder.admit([Row(g.prompt_ids, w.weights, s) for g, w, _, s in wanted])
        self._choices += [_Choice(g, i, a, w) for (g, w, i, _), a in zip(wanted, answers, strict=True)]
        self._deliver()

    def step(self) -> None:
        """One token for every row."""
        for choice in self._choices:
            choice.answer.cancelled = choice.generation.cancelled
        self._decoder.step()
        self._deliver()

    def fail(self, message: str) -> None:
        """Ends all answers with an error and starts afresh."""
        for choice in self._choices:
            choice.generation.deliver(Piece(choice.index, "", (), choice.by.version, error=message))
        self._choices = []
        self._decoder = Decoder(self._base)

    def _deliver(self) -> None:
        for choice in self._choices:
            answer = choice.answer
            # A stop string may span tokens: what could be its beginning is not shown before it is settled.
            stops = answer.row.sampling.stop
            hold = max((len(s) for s in stops), default=1) - 1 if answer.finish is None else 0
            end = max(choice.sent, len(answer.text) - hold)
            if end == choice.sent and answer.finish is None and len(answer.tokens) == choice.tokens:
                continue
            piece = Piece(
                choice.index,
                answer.text[choice.sent : end],
                tuple(answer.tokens[choice.tokens :]),
                choice.by.version,
                logprobs=tuple(answer.logprobs[choice.tokens :]),
                finish_reason=answer.finish,
                member=choice.by.member,
            )
            choice.sent, choice.tokens = end, len(answer.tokens)
            choice.generation.deliver(piece)
        self._choices = [c for c in self._choices if c.answer.finish is None and not c.answer.cancelled]
