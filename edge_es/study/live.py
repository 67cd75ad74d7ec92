"""The arm of live exploration: a user asks, members answer, and what the user thinks of the answers is all there is.

The first answers are the version's own, and the basis is made for their ratings; from then on every step is a live one
(`edge_es.live`), as the daemon takes it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_es import graders
from edge_es.answers import Row, Sampling
from edge_es.config import Config
from edge_es.decode import generate
from edge_es.exploration import draw, take
from edge_es.feedback import Drawn, Event, Exchange
from edge_es.fitness import texts_of
from edge_es.likelihood import Text
from edge_es.live import live_step
from edge_es.model import Base, encode_prompt
from edge_es.renewal import renew
from edge_es.sidechannel import Weights
from edge_es.slices import run
from edge_es.study.adapter import EdgeES, evaluations

METRIC = "rating"


@dataclass(frozen=True)
class User:
    """temperature: of the answers; 0 is greedy. similarity: a wrong answer is rated by how like the right one it is,
    not as wrong."""

    temperature: float = 0.0
    similarity: bool = False

    def rating(self, item: Event, answer: str) -> float:
        """-1 to 1, the better the larger."""
        grader = item.grader or {"type": "string_check", "operation": "eq", "reference": item.exchanges[0].answer}
        if self.similarity:
            grader = {
                "type": "text_similarity",
                "evaluation_metric": "fuzzy_match",
                "reference": grader["reference"],
            }
        return 2 * graders.grade(grader, answer) - 1


class Live(EdgeES):
    """A `Learner`. Its evaluations are the answers that were served, and what the making of the basis scored."""

    def __init__(
        self, base: Base, config: Config, events: Sequence[Event], protected: Sequence[Text], user: Mapping[str, Any]
    ) -> None:
        super().__init__(base, config, events, protected)
        self._items, self._user = tuple(events), User(**user)
        self._served = random.Random(f"live {config.search.seed}")
        self._drawn = 0
        self.ratings: list[float] = []

    def step(self) -> None:
        """As many answers as a population has members, and what is learned from their ratings."""
        seen, size = len(self.journal.rows()), self._config.search.population
        if not self._state.delta.parts:
            events = self._answers([(self.delta, None)] * size)
            texts = [text for event in events for text in texts_of(self.base, event)]
            mean = sum(self.ratings) / len(self.ratings)
            around = replace(self._around, centres={METRIC: mean})
            self._state = run(renew(self._state, texts, events, around))
        else:
            stock = run(draw(self._state, self._drawn, self._around))
            self._drawn += stock.population.pairs
            by: list[tuple[Weights, Drawn | None]] = []
            while stock.members:
                member, drawn, stock = take(stock)
                by.append((member, drawn))
            events = self._answers(by or [(self.delta, None)] * size)
            if by:
                self._state = run(live_step(self._state, events, self._around))
        made = [row for row in self.journal.rows()[seen:] if row.kind == "basis"]
        self.evaluations += len(events) + evaluations(made, self._config)

    def _answers(self, by: Sequence[tuple[Weights, Drawn | None]]) -> list[Event]:
        """One answer by each of these to an item of its own, rated."""
        items = [self._served.choice(self._items) for _ in by]
        tokens, first = self._config.learn.task_tokens, len(self.ratings)
        rows = [
            Row(
                encode_prompt(self.base, item.exchanges[0].prompt),
                weights,
                Sampling(tokens, temperature=self._user.temperature, seed=first + number),
            )
            for number, (item, (weights, _)) in enumerate(zip(items, by, strict=True))
        ]
        events = []
        for item, (_, drawn), answer in zip(items, by, run(generate(self.base, rows)), strict=True):
            self.ratings.append(self._user.rating(item, answer.text))
            said = Exchange(item.exchanges[0].prompt, answer.text, answer.finish == "stop")
            name = f"served-{len(self.ratings)}"
            events.append(Event(name, "rating", (said,), metric=METRIC, value=self.ratings[-1], member=drawn))
        return events
