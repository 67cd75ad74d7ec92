"""Scores of a suite's items under one version, in slices between which requests may go.

Decides how an item becomes tokens; knows nothing of references and verdicts (`verdicts.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from edge_es import graders
from edge_es.answers import Row, Sampling
from edge_es.decode import generate
from edge_es.errors import InputError
from edge_es.feedback import Exchange
from edge_es.fitness import text_of
from edge_es.likelihood import AnswerScores, Text, kl, score
from edge_es.memory import OPEN, Plan
from edge_es.model import Base, encode_prompt
from edge_es.probes.suites import Item, Suite
from edge_es.probes.verdicts import ItemScores
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

MAX_TOKENS = 4096  # padded tokens a batch: about a third of a second of the embedded model on one CPU core
MOST_ROWS = 64  # answers generated at once
WORST = 100.0  # nats a token; stands for likelihoods that are not finite


@dataclass(frozen=True)
class Encoded:
    """A suite's items as tokens: `texts` are scored in one go, and those of item i are texts[spans[i]]."""

    suite: Suite
    texts: tuple[Text, ...]
    spans: tuple[range, ...]


def encode(base: Base, suite: Suite) -> Encoded:
    """The suite for one base. An item that does not fit the context raises InputError naming suite and item; of a
    learned suite it is left out, since nobody chose it (the same ones for every version, so scores still pair)."""
    texts: list[Text] = []
    spans: list[range] = []
    items: list[Item] = []
    for number, item in enumerate(suite.items, 1):
        try:
            some = list(_texts(base, suite, item))
        except InputError as error:
            if suite.learned:
                continue
            raise InputError(f"probe suite {suite.name}, item {number}: {error}", "probes.suites") from None
        spans.append(range(len(texts), len(texts) + len(some)))
        texts += some
        items.append(item)
    return Encoded(Suite(suite.name, suite.kind, tuple(items)), tuple(texts), tuple(spans))


def _texts(base: Base, suite: Suite, item: Item) -> Iterable[Text]:
    if item.prompt is None:
        return _windows(base, item.answer or "")
    if suite.kind == "choice":
        of = _answer if suite.learned else _choice
        return [of(base, item, choice) for choice in item.choices]
    if item.answer is None:
        prompt = encode_prompt(base, item.prompt, room=1 if item.grader else 0)
        # KL without an answer is measured on the prompt's own tokens; a grader needs the prompt only.
        return [Text(prompt[:1], prompt[1:]) if suite.kind == "kl" else Text(prompt, ())]
    if item.prompt.text is not None and suite.kind == "generation" and not item.ended and not suite.learned:
        return [_continued(base, item.prompt.text, item.answer)]
    return [_answer(base, item, item.answer)]


def _answer(base: Base, item: Item, answer: str) -> Text:
    """As it is trained on."""
    assert item.prompt is not None
    return text_of(base, Exchange(item.prompt, answer, item.ended))


def _choice(base: Base, item: Item, choice: str) -> Text:
    assert item.prompt is not None
    if item.prompt.text is None:
        return _answer(base, item, choice)
    found = _continued(base, item.prompt.text.rstrip(), f"{item.delimiter}{choice}")
    return Text(found.prompt, (*found.answer, base.end_ids[0])) if item.ended else found


def _continued(base: Base, context: str, answer: str) -> Text:
    """Raw text and what follows it, encoded as a whole, as lm-evaluation-harness does."""
    length = len(base.tokenizer(context).input_ids)
    ids = tuple(base.tokenizer(context + answer).input_ids)
    if len(ids) > base.context:
        raise InputError(f"context and answer have {len(ids)} tokens, the model's context holds {base.context}")
    return Text(ids[:length], ids[length:])


def _windows(base: Base, text: str) -> list[Text]:
    """A text scored alone: every token but the first is predicted once, in windows of the context's size."""
    ids = tuple(base.tokenizer(text).input_ids)
    if len(ids) < 2:
        raise InputError("the text has fewer than two tokens")
    step = base.context - 1
    return [Text(ids[at : at + 1], ids[at + 1 : at + 1 + step]) for at in range(0, len(ids) - 1, step)]


def score_suite(base: Base, delta: Delta, suite: Suite | Encoded, room: Plan = OPEN) -> Slices[ItemScores]:
    """Scores of every item under one version, in the suite's order; yields between batches and tokens.

    generation: 1 where greedy decoding gives exactly the reference answer and ends (by teacher forcing, which is the
    same), or the grade of the greedy answer; beside it the probability of the reference answer. choice: acc_norm, the
    right choice has the highest likelihood a character, as lm-evaluation-harness; beside it acc (likelihood alone) and
    the probability of the right choice among the choices. perplexity: nats a token. kl: nats a token from the anchor.
    rating: 1 where the answer's likelihood has moved from the anchor's as its rating says.
    """
    encoded = suite if isinstance(suite, Encoded) else encode(base, suite)
    items, texts, kind = encoded.suite.items, encoded.texts, encoded.suite.kind
    if kind == "kl":
        divergence = yield from kl(base, delta, texts, _most(base, texts, room, distributions=2))
        return ItemScores(kind, _finite(divergence).tolist(), lower_is_better=True)
    if kind == "generation":
        return (yield from _generation(base, delta, encoded, room))
    scores = yield from score(base, delta, texts, _most(base, texts, room))
    if kind == "choice":
        return _choices(items, encoded, scores)
    if kind == "rating":
        anchor = yield from score(base, Delta(), texts, _most(base, texts, room))
        gain = torch.nan_to_num(scores.total - anchor.total, nan=0.0)  # no move, so right in neither direction
        value = torch.tensor([item.value for item in items])
        return ItemScores(kind, (gain.sign() == value.sign()).float().tolist())
    nats = torch.tensor([float(-scores.total[list(span)].sum() / _tokens(scores, span)) for span in encoded.spans])
    return ItemScores(kind, _finite(nats).tolist(), lower_is_better=True)


def require_room(base: Base, encoded: Encoded, room: Plan) -> None:
    """Raises TooLarge where one of the items does not fit."""
    texts = [text for text in encoded.texts if text.answer]
    if texts:
        room.tokens(base, texts, 2 if encoded.suite.kind == "kl" else 1)
    limits = [
        len(encoded.texts[span[0]].prompt) + item.max_tokens
        for item, span in zip(encoded.suite.items, encoded.spans, strict=True)
        if item.grader is not None
    ]
    if limits:
        room.answers(base, min(base.context, max(limits)), 1)


def _most(base: Base, texts: Sequence[Text], room: Plan, distributions: int = 1) -> int:
    return min(MAX_TOKENS, room.tokens(base, texts, distributions))


def _finite(nats: torch.Tensor) -> torch.Tensor:
    """Nats a token without NaN and infinities: a version that breaks the arithmetic is bad, not unmeasurable."""
    return torch.nan_to_num(nats, nan=WORST, posinf=WORST, neginf=WORST).clamp(max=WORST)


def _tokens(scores: AnswerScores, span: range) -> int:
    return max(1, int(scores.tokens[list(span)].sum()))


def _probability(total: torch.Tensor) -> list[float]:
    return torch.nan_to_num(total, nan=-torch.inf).exp().tolist()


def _generation(base: Base, delta: Delta, encoded: Encoded, room: Plan) -> Slices[ItemScores]:
    items = encoded.suite.items
    primary = [0.0] * len(items)
    answered = [i for i, item in enumerate(items) if item.answer is not None]
    texts = [encoded.texts[i] for i in answered]
    scores = yield from score(base, delta, texts, _most(base, texts, room))
    for i, right in zip(answered, scores.greedy.tolist(), strict=True):
        primary[i] = float(right)
    graded = [i for i, item in enumerate(items) if item.grader is not None]
    if graded:
        prompts = [(encoded.texts[i].prompt, items[i].max_tokens) for i in graded]
        said = yield from _greedy(base, delta, prompts, room)
        given = [(items[i].grader or {}, text) for i, text in zip(graded, said, strict=True)]
        for i, value in zip(graded, (yield from graders.graded(given)), strict=True):
            primary[i] = torch.tensor(value).item()  # as a 32-bit float
    beside = {"loglik": _probability(scores.total)} if len(answered) == len(items) else {}
    return ItemScores("generation", primary, beside=beside)


def _greedy(base: Base, delta: Delta, prompts: list[tuple[tuple[int, ...], int]], room: Plan) -> Slices[list[str]]:
    """The greedy answer's text to each (prompt, most tokens)."""
    rows = [Row(prompt, delta, Sampling(max_tokens=limit)) for prompt, limit in prompts]
    longest = min(base.context, max(len(prompt) + limit for prompt, limit in prompts))
    answers = yield from generate(base, rows, max_rows=room.answers(base, longest, min(MOST_ROWS, len(rows))))
    return [answer.text for answer in answers]


def _choices(items: tuple[Item, ...], encoded: Encoded, scores: AnswerScores) -> ItemScores:
    acc_norm, acc, probability = [], [], []
    for item, span in zip(items, encoded.spans, strict=True):
        total = torch.nan_to_num(scores.total[list(span)], nan=-torch.inf)
        characters = torch.tensor([float(len(choice)) for choice in item.choices])
        acc_norm.append(_is_best(total / characters, item.label))
        acc.append(_is_best(total, item.label))
        share = torch.nan_to_num(total.softmax(0))  # all impossible: no share
        probability.append(float(share[item.label]))
    return ItemScores("choice", acc_norm, beside={"acc": acc, "loglik": probability})


def _is_best(values: torch.Tensor, label: int) -> float:
    """1 if the label's value is the first of the greatest, as numpy's argmax decides in lm-evaluation-harness."""
    return float(int(values.argmax()) == label and bool(torch.isfinite(values[label])))
