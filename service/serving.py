"""Requests on the decoder: who waits for which row, and what of it has been sent. Runs on the device thread."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge_es.answers import Answer, Row
from edge_es.decode import Decoder
from edge_es.feedback import Drawn
from edge_es.meter import wait
from edge_es.model import Base
from edge_es.prefixes import Prefixes
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
    """All answers in the making. A row keeps the weights it began with: a request never changes version or member.

    prefix_bytes: what earlier turns may hold.
    """

    def __init__(self, base: Base, prefix_bytes: int = 0) -> None:
        self._base = base
        self._prefixes = Prefixes(prefix_bytes) if prefix_bytes else None
        self._decoder = Decoder(base, prefixes=self._prefixes)
        self._choices: list[_Choice] = []

    def __len__(self) -> int:
        return len(self._choices)

    def admit(self, generations: Sequence[Generation], by: Sequence[Answerer]) -> None:
        """Their prompts are read by the next steps. by: what answers each of these requests."""
        wanted = [(g, w, i, s) for g, w in zip(generations, by, strict=True) for i, s in enumerate(g.samplings)]
        # Together only with those of about its length: padding is read, too.
        lengths = {len(generation.prompt_ids).bit_length() for generation in generations}
        for length in sorted(lengths):
            some = [one for one in wanted if len(one[0].prompt_ids).bit_length() == length]
            answers = self._decoder.begin([Row(g.prompt(i), w.weights, s) for g, w, i, s in some])
            self._choices += [_Choice(g, i, a, w) for (g, w, i, _), a in zip(some, answers, strict=True)]

    def step(self) -> None:
        """Some of a prompt that is being read, and one token for every row."""
        for choice in self._choices:
            choice.answer.cancelled = choice.generation.cancelled
        if self._decoder.readings:
            reading, began = self._base.costs.reading, time.perf_counter()
            read = self._decoder.read(reading.tokens())
            wait(self._base.device)  # a GPU goes on by itself; the pace is of what it does, not of the asking
            reading.took(read, time.perf_counter() - began)
            self._deliver()
        self._decoder.step()
        self._deliver()

    @property
    def reading(self) -> bool:
        """Whether prompts wait to be read."""
        return bool(self._decoder.readings)

    def fail_reading(self, message: str) -> None:
        """Ends those answers whose prompts were not read yet with an error; the others go on."""
        waiting = {id(answer) for reading in self._decoder.readings for answer in reading.answers}
        self._decoder.readings.clear()
        for choice in self._choices:
            if id(choice.answer) in waiting:
                choice.generation.deliver(Piece(choice.index, "", (), choice.by.version, error=message))
        self._choices = [choice for choice in self._choices if id(choice.answer) not in waiting]

    def fail(self, message: str) -> None:
        """Ends all answers with an error and starts afresh."""
        for choice in self._choices:
            choice.generation.deliver(Piece(choice.index, "", (), choice.by.version, error=message))
        self._choices = []
        self._decoder = Decoder(self._base, prefixes=self._prefixes)

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
                prompt_logprobs=() if choice.tokens else tuple(answer.prompt_logprobs),
            )
            choice.sent, choice.tokens = end, len(answer.tokens)
            choice.generation.deliver(piece)
        self._choices = [c for c in self._choices if c.answer.finish is None and not c.answer.cancelled]
