"""A suite before it is used: what the anchor scores on it, and what it says to the first items."""

from dataclasses import dataclass

import torch

from edge_es.answers import Row, Sampling
from edge_es.decode import generate
from edge_es.feedback import Prompt
from edge_es.likelihood import score
from edge_es.memory import OPEN, Plan
from edge_es.model import Base, encode_answer
from edge_es.probes.scoring import encode, score_suite
from edge_es.probes.suites import Item, Suite
from edge_es.probes.verdicts import ItemScores
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

SPARE = 8  # tokens beyond the wanted answer's that the anchor may say


@dataclass(frozen=True)
class Shown:
    """An item as it is shown: what is asked, what is right, what the anchor answers (None where it is not asked to
    answer), and its score."""

    asked: str
    right: str
    answered: str | None
    score: float


@dataclass(frozen=True)
class Preview:
    """scores: of the anchor, item by item. shown: the first items."""

    scores: ItemScores
    shown: tuple[Shown, ...]


def preview(base: Base, suite: Suite, first: int, room: Plan = OPEN) -> Slices[Preview]:
    """Scores the whole suite at the anchor. Raises InputError naming an item that does not fit the model."""
    encoded = encode(base, suite)
    scores = yield from score_suite(base, Delta(), encoded, room)
    items = suite.items[:first]
    answers: list[str | None] = [None] * len(items)
    if suite.kind == "generation":
        rows = [
            Row(encoded.texts[encoded.spans[i].start].prompt, Delta(), Sampling(_limit(base, item)))
            for i, item in enumerate(items)
        ]
        answers = [answer.text for answer in (yield from generate(base, rows))]
    elif suite.kind == "choice":
        spans = encoded.spans[: len(items)]
        found = yield from score(
            base, Delta(), [text for span in spans for text in encoded.texts[span.start : span.stop]]
        )
        for i, (item, span) in enumerate(zip(items, spans, strict=True)):
            lengths = torch.tensor([float(len(choice)) for choice in item.choices])
            own = found.total[span.start - spans[0].start : span.stop - spans[0].start]
            answers[i] = item.choices[int((own / lengths).argmax())]
    shown = [
        Shown(_asked(item.prompt), _right(item), answer, value)
        for item, answer, value in zip(items, answers, scores.primary, strict=False)
    ]
    return Preview(scores, tuple(shown))


def _limit(base: Base, item: Item) -> int:
    if item.grader is not None or item.answer is None:
        return item.max_tokens
    return len(encode_answer(base, item.answer)) + SPARE


def _asked(prompt: Prompt | None) -> str:
    if prompt is None:
        return ""
    return prompt.text if prompt.text is not None else "\n".join(message.content for message in prompt.messages)


def _right(item: Item) -> str:
    if item.choices:
        return item.choices[item.label]
    return item.answer if item.answer is not None else str(dict(item.grader or {}))
