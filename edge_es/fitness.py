"""A batch of feedback -> one fitness for every member, in population batches that share one pass over the base.

Per event a z-score across members (a spread below FLOOR is a tie and weighs nothing), then the mean over events, so
that nats, 0/1 and grades mix. What an event's score is:

demonstration  mean log-likelihood a token of the better answer
preference     log-sigmoid of the difference in log-likelihood gain over the anchor
rating         centred rating times the gain of the rated completion
task           the member's own greedy answer, graded

Gains are clipped to 2 nats an answer token, so that no member is paid for making an answer impossible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from edge_es import graders
from edge_es.decode import Row, Sampling, generate
from edge_es.feedback import Event, Exchange
from edge_es.likelihood import Batch, Text, batches, collate, kl_batch, score, score_batch
from edge_es.memory import Plan
from edge_es.model import Base, encode_answer, encode_prompt
from edge_es.sidechannel import Member, PopulationRows
from edge_es.slices import Slices
from edge_es.spaces.adapter import Delta
from edge_es.strategy import Population

FLOOR = 1e-5  # smallest standard deviation across members that is more than rounding
GAIN_CLIP = 2.0  # nats an answer token
MOST_ANSWERS = 1024  # of graded tasks in the making at once, however large the budget


@dataclass(frozen=True)
class Fitness:
    """members: (N,) float64, what `strategy` shapes. means: raw mean score per event kind. kl: mean over members of
    the KL to the anchor on protected inputs, None where it did not join. batches: passes over the base that the scoring
    took; more than one where the population did not fit at once."""

    members: np.ndarray
    means: dict[str, float]
    tie_rate: float
    reliability: float | None
    kl: float | None
    batches: int = 1


def text_of(base: Base, exchange: Exchange) -> Text:
    """The tokens of an exchange. Raises InputError where they do not fit the context."""
    answer = encode_answer(base, exchange.answer, exchange.ended)
    return Text(encode_prompt(base, exchange.prompt, room=len(answer)), answer)


def texts_of(base: Base, event: Event) -> list[Text]:
    """Texts that the event's score needs, in the order of its exchanges. A task's answer is empty: it is generated."""
    if event.kind == "task":
        return [Text(encode_prompt(base, e.prompt), ()) for e in event.exchanges]
    return [text_of(base, exchange) for exchange in event.exchanges]


def evaluate(
    base: Base,
    delta: Delta,
    population: Population,
    events: Sequence[Event],
    plan: Plan,
    centres: Mapping[str, float],
    task_tokens: int,
    protected: Sequence[Text] = (),
    kl_weight: float = 0.0,
) -> Slices[Fitness]:
    """Fitness of all members on the same items (common random numbers). Yields between population batches.

    centres: running mean of each metric's ratings. protected: inputs on which -kl_weight * KL joins the fitness.
    """
    texts: dict[Text, int] = {}
    for event in events:
        if event.kind != "task":
            for text in texts_of(base, event):
                texts.setdefault(text, len(texts))
    listed = list(texts)
    totals, passes = yield from _totals(base, delta, population, listed, plan)  # (N, texts)
    gained = any(event.kind in ("preference", "rating") for event in events)
    anchor = (yield from score(base, Delta(), listed, plan.tokens(base, listed))).total.numpy() if gained else None
    tasks = [event for event in events if event.kind == "task"]
    grades = yield from _graded(base, delta, population, tasks, task_tokens, plan)
    graded = iter(grades.T)  # (N,) each, in event order

    rows: list[np.ndarray] = []
    for event in events:
        if event.kind == "task":
            rows.append(next(graded))
            continue
        own = [texts[text] for text in texts_of(base, event)]
        lengths = np.array([max(1, len(listed[i].answer)) for i in own], dtype=np.float64)
        if event.kind == "demonstration":
            rows.append((totals[:, own] / lengths).mean(1))
            continue
        assert anchor is not None
        gain = np.clip(totals[:, own] - anchor[own], -GAIN_CLIP * lengths, GAIN_CLIP * lengths)  # (N, exchanges)
        if event.kind == "preference":
            rows.append(-np.logaddexp(0.0, gain[:, 1] - gain[:, 0]))
        else:
            assert event.value is not None and event.metric is not None
            rows.append((event.value - centres.get(event.metric, 0.0)) * (gain / lengths).mean(1))
    drift = (yield from _drift(base, delta, population, protected, plan)) if protected and kl_weight else None
    return replace(combine(np.stack(rows), [event.kind for event in events], drift, kl_weight), batches=passes)


def combine(raw: np.ndarray, kinds: Sequence[str], drift: np.ndarray | None, kl_weight: float) -> Fitness:
    """raw: (events, members) scores; drift: (members,) KL to the anchor. Returns the members' fitness."""
    spread = raw.std(1)
    live = spread > FLOOR  # False for NaN too, but NaN is caught by the signal gate through `members`
    scores = np.zeros_like(raw)
    scores[live] = (raw[live] - raw[live].mean(1, keepdims=True)) / spread[live, None]
    members = scores[live].mean(0) if live.any() else np.zeros(raw.shape[1])
    if not np.isfinite(raw).all():
        members = np.full(raw.shape[1], np.nan)
    if drift is not None and not np.isfinite(drift).all():
        members = np.full(raw.shape[1], np.nan)
    elif drift is not None and drift.std() > FLOOR:
        # In units of the events' own spread, so that a nat of drift weighs as a nat of what is taught: little while
        # there is much to learn, and more as the events are learned.
        unit = max(float(np.median(spread[live])) if live.any() else 0.0, float(drift.std()))
        members = members - kl_weight * (drift - drift.mean()) / unit
    means = {kind: float(raw[[k == kind for k in kinds]].mean()) for kind in dict.fromkeys(kinds)}
    return Fitness(
        members=members,
        means=means,
        tie_rate=1.0 - float(live.mean()),
        reliability=reliability(scores[live]),
        kl=float(drift.mean()) if drift is not None else None,
    )


def reliability(scores: np.ndarray) -> float | None:
    """Split-half reliability of the members' fitness, stepped up by Spearman-Brown; None under two events.

    scores: (events, members) z-scores; the halves are the even and the odd events.
    """
    if len(scores) < 2:
        return None
    first, second = scores[::2].mean(0), scores[1::2].mean(0)
    if first.std() == 0 or second.std() == 0:
        return 0.0
    r = float(np.corrcoef(first, second)[0, 1])
    return 2 * r / (1 + r) if r > 0 else r


def _totals(
    base: Base, delta: Delta, population: Population, texts: Sequence[Text], plan: Plan
) -> Slices[tuple[np.ndarray, int]]:
    """Log-likelihood of every text under every member, (N, texts) float64, nats; and the passes over the base."""
    totals = np.zeros((population.size, len(texts)))
    passes = 0
    for index in batches(texts, plan.slice_tokens // 2):
        batch = collate(base, [texts[i] for i in index])
        shared = batch.shared > 0 and plan.shares(base, batch.ids.shape[1], len(batch.columns))
        for pairs, some in _pair_chunks(population, index, _rows(base, plan, batch, len(batch.columns), shared)):
            piece = collate(base, [texts[i] for i in some]) if len(some) < len(index) else batch
            piece = piece if shared else replace(piece, shared=0)
            repeats = 2 * len(pairs)
            scores = score_batch(base, piece, PopulationRows(delta, population, pairs), repeats)
            totals[2 * pairs.start : 2 * pairs.stop, some] = scores.total.view(repeats, len(some)).numpy()
            passes += 1
            yield
    return totals, passes


def _rows(base: Base, plan: Plan, batch: Batch, columns: int, shared: bool) -> int:
    return plan.rows(base, batch.ids.shape[1], columns, cached=shared)


def _pair_chunks(population: Population, index: list[int], rows: int) -> list[tuple[range, list[int]]]:
    """(pairs, texts) of each population batch: whole groups of texts where a pair of them fits, else pieces."""
    width = min(len(index), rows // 2)
    per_batch = max(1, rows // (2 * width))
    # Equal chunks, so that the shape does not change from batch to batch.
    chunks = -(-population.pairs // per_batch)
    per_batch = -(-population.pairs // chunks)
    pieces = [index[i : i + width] for i in range(0, len(index), width)]
    starts = range(0, population.pairs, per_batch)
    return [(range(s, min(s + per_batch, population.pairs)), piece) for piece in pieces for s in starts]


def _graded(
    base: Base, delta: Delta, population: Population, tasks: Sequence[Event], task_tokens: int, plan: Plan
) -> Slices[np.ndarray]:
    """Grades of every member's own greedy answers, (N, tasks) float64."""
    if not tasks:
        return np.zeros((population.size, 0))
    sampling = Sampling(max_tokens=task_tokens)
    prompts = [encode_prompt(base, event.exchanges[0].prompt) for event in tasks]
    members = [Member(delta, population, p, sign) for p in range(population.pairs) for sign in (1, -1)]
    rows = [Row(prompt, member, sampling) for member in members for prompt in prompts]
    longest = max(len(prompt) for prompt in prompts) + task_tokens
    answers = yield from generate(base, rows, max_rows=min(MOST_ANSWERS, plan.answers(base, longest)))
    grades = [graders.grade(tasks[i % len(tasks)].grader or {}, answer.text) for i, answer in enumerate(answers)]
    return np.array(grades, dtype=np.float64).reshape(population.size, len(tasks))


def _drift(
    base: Base, delta: Delta, population: Population, protected: Sequence[Text], plan: Plan
) -> Slices[np.ndarray]:
    """Mean KL(anchor || member) a token over the protected texts, (N,) float64, nats."""
    sums = np.zeros(population.size)
    for index in batches(protected, plan.slice_tokens // 2):
        batch = collate(base, [protected[i] for i in index])
        # Every answer position keeps a distribution over the whole vocabulary, of the anchor and of each row.
        columns = 2 * len(batch.columns)
        shared = batch.shared > 0 and plan.shares(base, batch.ids.shape[1], columns)
        for pairs, some in _pair_chunks(population, index, _rows(base, plan, batch, columns, shared)):
            piece = collate(base, [protected[i] for i in some])
            piece = piece if shared else replace(piece, shared=0)
            repeats = 2 * len(pairs)
            each = kl_batch(base, piece, PopulationRows(delta, population, pairs), repeats)
            sums[2 * pairs.start : 2 * pairs.stop] += each.view(repeats, -1).sum(1).numpy()
            yield
    return sums / len(protected)


def noise_bytes(population: Population, dtype: torch.dtype) -> int:
    """Bytes that the perturbations of one step hold while it is evaluated."""
    return population.pairs * population.side.size * torch.finfo(dtype).bits // 8
