"""`es-full`: the paper's algorithm (arXiv 2601.20861), dense and unguarded, on an unquantized copy.

Every parameter gets normal noise of its own; a member is evaluated with it in place; z-scored fitness; no antithetic
pairs. theta += alpha / N * sum over members of z * noise, so that a step's norm is about alpha * sqrt(d / N).
"""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from edge_es import graders
from edge_es.answers import Row, Sampling
from edge_es.bench.in_place import update
from edge_es.decode import generate
from edge_es.feedback import Event
from edge_es.fitness import event_scores, text_of, texts_of
from edge_es.likelihood import score
from edge_es.model import Base, encode_prompt
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study.change import Moved
from edge_es.study.learning import ANSWER_TOKENS
from edge_es.study.weights import Weights

Noise = Iterator[tuple[torch.Tensor, torch.Tensor]]


class PaperES:
    """A `Learner`. sigma, alpha: of a member's noise and of a step; population N; batch: items of a step."""

    delta = Delta()

    def __init__(
        self,
        base: Base,
        events: Sequence[Event],
        seed: int,
        sigma: float,
        alpha: float,
        population: int,
        batch: int,
        answer_tokens: int = ANSWER_TOKENS,
    ) -> None:
        self.base, self._events, self._seed = base, events, seed
        self._sigma, self._alpha, self._population, self._batch = sigma, alpha, population, batch
        self._weights = Weights(base)
        self._worth = Worth(base, events, answer_tokens)
        self._rng = random.Random(seed)
        self._generator = torch.Generator(base.device)
        self._steps = 0
        self.evaluations, self.walk = 0, 0.0

    def formula(self) -> float:
        """What a random walk's norm would be by now: alpha * sqrt(d * T / N)."""
        size = sum(weight.numel() for weight in self._weights.now.values())
        return float(self._alpha * (size * self._steps / self._population) ** 0.5)

    @torch.no_grad()
    def step(self) -> None:
        items = self._rng.sample(self._events, min(self._batch, len(self._events)))
        self._steps += 1
        before = self._weights.copy()
        fitness = []
        for member in range(self._population):
            for weight, noise in self._noise(member):
                weight.add_(noise, alpha=self._sigma)
            fitness.append(self._worth.of(items))
            self._weights.restore(before)  # not by subtraction, which would leave a rounding error a member
        update(fitness, self._alpha, self._noise)
        self.walk += self._weights.distance(before) ** 2
        self.evaluations += self._population * len(items)

    def moved(self) -> Iterator[Moved]:
        return self._weights.moved()

    def _noise(self, member: int) -> Noise:
        """The same for the same step and member; one stream for all tensors, so that no two share noise."""
        key = f"{self._seed}/{self._steps}/{member}"
        self._generator.manual_seed(random.Random(key).getrandbits(63))
        for weight in self._weights.now.values():
            noise = torch.empty_like(weight).normal_(generator=self._generator)
            yield weight, noise


class Worth:
    """What a batch is worth under the weights as they are, as a mean over its items: nats an answer token of a
    demonstration, the log-sigmoid of a preference's difference in gain over the anchor, the grade of a task's greedy
    answer. Made while the base is the anchor."""

    def __init__(self, base: Base, events: Sequence[Event], answer_tokens: int) -> None:
        self._base, self._answer_tokens = base, answer_tokens
        pairs = [event for event in events if event.kind == "preference"]
        self._anchor = dict(zip((event.id for event in pairs), self._totals(pairs)[0], strict=True)) if pairs else {}

    def of(self, items: Sequence[Event]) -> float:
        base, total = self._base, 0.0
        if shown := [event for event in items if event.kind == "demonstration"]:
            found = run(score(base, Delta(), [text_of(base, event.exchanges[0]) for event in shown]))
            total += float((found.total / found.tokens.clamp(min=1)).sum())
        if pairs := [event for event in items if event.kind == "preference"]:
            gained, lengths = self._totals(pairs)
            anchor = np.concatenate([self._anchor[event.id] for event in pairs])
            own = [(2 * at, 2 * at + 1) for at in range(len(pairs))]
            totals, tokens = gained.reshape(1, -1), lengths.reshape(-1)
            total += float(event_scores(pairs, own, totals, tokens, anchor, np.empty((1, 0)), {}).sum())
        if tasks := [event for event in items if event.kind == "task"]:
            sampling = Sampling(max_tokens=self._answer_tokens)
            rows = [Row(encode_prompt(base, event.exchanges[0].prompt), Delta(), sampling) for event in tasks]
            answers = run(generate(base, rows))
            total += sum(graders.grade(e.grader or {}, a.text) for e, a in zip(tasks, answers, strict=True))
        return total / len(items)

    def _totals(self, pairs: Sequence[Event]) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood of chosen and rejected, and their tokens; (pairs, 2) each."""
        found = run(score(self._base, Delta(), [text for event in pairs for text in texts_of(self._base, event)]))
        return found.total.double().numpy().reshape(-1, 2), found.tokens.numpy().reshape(-1, 2)
