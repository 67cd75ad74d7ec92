"""The gradient references, on an unquantized copy: `sft` on demonstrations, `grpo` on graded or scored rollouts.

GRPO as the paper's baseline has it (arXiv 2402.03300 by way of verl): advantages within the group of one prompt's
rollouts, clipped ratio, KL to the anchor with coefficient 1e-3, AdamW. They live here and never in the daemon.
"""

import itertools
import random
from collections.abc import Iterator, Sequence

import torch

from edge_es import graders
from edge_es.answers import Row, Sampling
from edge_es.bench.plain import answer_scores
from edge_es.decode import generate
from edge_es.errors import InputError
from edge_es.feedback import Event
from edge_es.fitness import text_of
from edge_es.likelihood import Batch, Text, collate
from edge_es.model import Base, encode_prompt
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study.change import Moved
from edge_es.study.learning import ANSWER_TOKENS
from edge_es.study.weights import Weights

CLIP = 0.2
KL = 1e-3
MINI_BATCHES = 2  # updates made of one set of rollouts; from the second on, the ratio differs from 1


class _Gradient:
    """What both have in common: AdamW on all weights of the base. rate: learning rate; batch: items of a step."""

    delta = Delta()

    def __init__(self, base: Base, events: Sequence[Event], seed: int, rate: float, batch: int) -> None:
        self.base, self._events, self._batch, self._seed = base, events, batch, seed
        self._weights = Weights(base)
        self._rng = random.Random(seed)
        base.model.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(base.model.parameters(), lr=rate, weight_decay=0.0)
        self.evaluations, self.walk = 0, 0.0

    def moved(self) -> Iterator[Moved]:
        return self._weights.moved()

    def _draw(self) -> list[Event]:
        return self._rng.sample(self._events, min(self._batch, len(self._events)))

    def _descend(self, loss: torch.Tensor) -> None:
        before = self._weights.copy()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.base.model.parameters(), 1.0)
        self._optimizer.step()
        self.walk += self._weights.distance(before) ** 2


class Supervised(_Gradient):
    """`sft`: the mean negative log-likelihood of the demonstrated answers' tokens. A `Learner`."""

    def __init__(self, base: Base, events: Sequence[Event], seed: int, rate: float, batch: int) -> None:
        super().__init__(base, events, seed, rate, batch)
        if any(event.kind != "demonstration" for event in events):
            raise InputError("sft learns from demonstrations; this task shows none")

    def step(self) -> None:
        batch = collate(self.base, [text_of(self.base, event.exchanges[0]) for event in self._draw()])
        logits = _logits(self.base, batch)
        self._descend(-answer_scores(logits, batch).sum() / batch.answer.sum())
        self.evaluations += len(batch.ids)


class GRPO(_Gradient):
    """`group` rollouts of each of `batch` prompts a step, sampled at temperature 1. A `Learner`."""

    def __init__(
        self,
        base: Base,
        events: Sequence[Event],
        seed: int,
        rate: float,
        batch: int,
        group: int,
        answer_tokens: int = ANSWER_TOKENS,
    ) -> None:
        super().__init__(base, events, seed, rate, batch)
        if any(event.kind != "task" for event in events):
            raise InputError("grpo needs answers that can be graded; give it a task with a grader")
        self._group, self._answer_tokens = group, answer_tokens
        self._seeds = itertools.count(seed << 32)

    def step(self) -> None:
        items = self._draw()
        prompts = [encode_prompt(self.base, event.exchanges[0].prompt) for event in items]
        rows = [
            Row(prompt, Delta(), Sampling(max_tokens=self._answer_tokens, temperature=1.0, seed=next(self._seeds)))
            for prompt in prompts
            for _ in range(self._group)
        ]
        answers = run(generate(self.base, rows, max_rows=len(rows)))
        of = [event for event in items for _ in range(self._group)]
        grades = torch.tensor([graders.grade(e.grader or {}, a.text) for e, a in zip(of, answers, strict=True)])
        advantages = advantages_of(grades.view(len(items), self._group)).flatten()
        texts = [Text(answer.row.prompt, tuple(answer.tokens)) for answer in answers]
        order = self._rng.sample(range(len(texts)), len(texts))
        with torch.no_grad():
            old, anchor = self._both(texts)
        for part in range(MINI_BATCHES):
            some = order[part::MINI_BATCHES]
            batch = collate(self.base, [texts[i] for i in some])
            now = token_scores(_logits(self.base, batch), batch)
            width = now.shape[1]
            was, first = (_aligned([table[i] for i in some], batch, width) for table in (old, anchor))
            self._descend(loss_of(now, was, first, advantages[some], batch.answer))
        self.evaluations += len(texts)

    def _both(self, texts: Sequence[Text]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Of each text, its answer tokens' log-probabilities now and under the anchor."""
        batch = collate(self.base, texts)
        then = torch.func.functional_call(self.base.model, self._weights.anchor, kwargs=_inputs(batch)).logits.float()
        found = [token_scores(logits, batch) for logits in (_logits(self.base, batch), then)]
        now, first = ([row[kept] for row, kept in zip(table, batch.answer, strict=True)] for table in found)
        return now, first


def advantages_of(grades: torch.Tensor) -> torch.Tensor:
    """(prompts, group) grades -> z-scores within each prompt's group; 0 where all are alike."""
    centred = grades - grades.mean(1, keepdim=True)
    return centred / (grades.std(1, keepdim=True) + 1e-6)


def loss_of(
    now: torch.Tensor, old: torch.Tensor, anchor: torch.Tensor, advantages: torch.Tensor, kept: torch.Tensor
) -> torch.Tensor:
    """now, old, anchor: (rows, c) log-probabilities; advantages (rows,); kept (rows, c) bool. The mean over tokens of
    the clipped surrogate, negated, and of the KL to the anchor (Schulman's k3 estimator)."""
    ratio = (now - old).exp()
    gain = advantages[:, None]
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
    apart = anchor - now
    drift = apart.exp() - apart - 1
    return ((KL * drift - surrogate) * kept).sum() / kept.sum()


def token_scores(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probabilities of the kept tokens, (rows, c); 0 where none belongs to an answer."""
    return logits.log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0] * batch.answer


def _aligned(rows: Sequence[torch.Tensor], batch: Batch, width: int) -> torch.Tensor:
    """Rows of log-probabilities at the places where the batch has their tokens, (rows, width)."""
    table = torch.zeros(len(rows), width, device=batch.ids.device)
    table[batch.answer] = torch.cat(list(rows))
    return table


def _inputs(batch: Batch) -> dict[str, object]:
    return {"input_ids": batch.ids, "logits_to_keep": batch.columns, "use_cache": False}


def _logits(base: Base, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = base.model(**_inputs(batch)).logits.float()
    return logits
