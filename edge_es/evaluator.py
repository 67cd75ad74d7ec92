"""Members in, scores out: one small protocol, so that a population can be evaluated here or spread over machines.

What crosses it is seeds, numbers and items (`Ask`) one way and numbers (`Scores`) the other; never weights. This file
also has the evaluator of this process: rows are (member, text), one pass over the base serves as many of them as the
room allows, and a batch that turns out not to fit is halved.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from edge_es import graders
from edge_es.answers import Row, Sampling
from edge_es.decode import generate
from edge_es.feedback import Event
from edge_es.fitness import event_scores, texts_of
from edge_es.footprint import Shape
from edge_es.halving import halving
from edge_es.likelihood import Batch, Text, batches, collate, kl_batch, padded, score, score_batch
from edge_es.memory import Plan, plan, with_cache
from edge_es.model import Base, encode_prompt
from edge_es.sidechannel import Member, PopulationRows
from edge_es.slices import Slices
from edge_es.spaces.blob import unpack
from edge_es.spaces.delta import Delta
from edge_es.strategy import Population

Grade = Callable[[Sequence[Event], Sequence[str]], Sequence[float]]
"""Tasks, with an answer each, to a score each, finite, larger is better."""

MOST_ANSWERS = 1024  # of graded tasks in the making at once, however large the budget


@dataclass(frozen=True)
class Ask:
    """Which members, around which version, on which items.

    pairs: those of the step's members that are asked for; pair p is members 2p (plus) and 2p + 1 (minus). apart: each
    pair moves one linear alone, as `Population` has it. centres: running mean of each metric's ratings. near: indices
    of the protected texts whose KL to the anchor is wanted, too. basis: the blob of a basis that no version has yet, in
    which the members are drawn; None: they are drawn in the version's own.
    """

    version: int
    seed: int
    step: int
    sigma: float
    pairs: range
    events: tuple[Event, ...]
    centres: Mapping[str, float]
    task_tokens: int
    near: tuple[int, ...] = ()
    apart: bool = False
    basis: bytes | None = None


@dataclass(frozen=True)
class Scores:
    """raw: (events, members) float64, as `fitness.event_scores` has them. solved: of each event, the share of members
    whose greedy answer is the demonstrated one or has full marks; None for kinds that have no such thing. drift:
    (members,) float64 mean KL to the anchor, nats a token; None where none was asked for. passes: over the base, for
    scoring texts. halved: batches that did not fit in memory and were halved. pairs: the numbers of those pairs that
    the members are of, where some of the asked ones are missing; None: all of them."""

    raw: np.ndarray
    solved: tuple[float | None, ...]
    drift: np.ndarray | None
    passes: int = 1
    halved: int = 0
    pairs: tuple[int, ...] | None = None


class Evaluator(Protocol):
    """Evaluates members. Deterministic: one ask at one batch shape on one kind of device gives the same bits."""

    def scores(self, delta: Delta, ask: Ask) -> Slices[Scores]:
        """`delta` is that of `ask.version`; an evaluator elsewhere rebuilds it from the ledger's rows and checks its
        sha256. Raises StateError where the memory budget cannot hold a single pair."""
        ...


@dataclass(frozen=True)
class InProcess:
    """On this process's base. protected: the texts that `Ask.near` counts. budget: as learn.memory_budget.
    slice_tokens: most padded tokens of a batch; None: as long as a device's slice may be. room: what a batch may hold,
    where it is known already; None: what the budget leaves, at every ask. grade: how the answers of tasks are graded;
    None: as each task says itself;
    full: the grade of an answer that cannot be better."""

    base: Base
    protected: Sequence[Text]
    budget: str
    slice_tokens: int | None = None
    room: Plan | None = None
    grade: Grade | None = None
    full: float = 1.0

    def scores(self, delta: Delta, ask: Ask) -> Slices[Scores]:
        base, events = self.base, ask.events
        if ask.basis is not None:
            delta = delta.with_basis(unpack(ask.basis).parts[0].basis.to(base.device))
        population = Population(ask.seed, ask.step, 2 * len(ask.pairs), ask.sigma, delta.active.basis)
        population = replace(population, first=ask.pairs.start, apart=ask.apart)
        before, element = base.costs.halved, torch.finfo(base.dtype).bits // 8
        held = delta.active.basis.noise_bytes(population.pairs, element, ask.apart)
        room = self.room or plan(base, delta, self.budget, held)
        if self.slice_tokens is not None:
            room = replace(room, slice_tokens=self.slice_tokens)
        texts: dict[Text, int] = {}  # what several events share is scored once
        own = [
            [texts.setdefault(text, len(texts)) for text in (texts_of(base, event) if event.kind != "task" else ())]
            for event in events
        ]
        listed = list(texts)
        totals, greedy, passes = yield from _totals(base, delta, population, listed, room)  # (N, texts)
        gained = any(event.kind in ("preference", "rating") for event in events)
        anchor = (yield from score(base, Delta(), listed, room.tokens(base, listed))).total.numpy() if gained else None
        tasks = [event for event in events if event.kind == "task"]
        grades = yield from _graded(base, delta, population, tasks, ask.task_tokens, room, self.grade)
        lengths = np.array([max(1, len(text.answer)) for text in listed], dtype=np.float64)
        raw = event_scores(events, own, totals, lengths, anchor, grades, ask.centres)
        solved = _solved(events, own, greedy, grades >= self.full)
        near = [self.protected[i] for i in ask.near]
        kl = (yield from drift(base, delta, population, near, room)) if near else None
        return Scores(raw, solved, kl, passes, base.costs.halved - before)


def _totals(
    base: Base, delta: Delta, population: Population, texts: Sequence[Text], room: Plan
) -> Slices[tuple[np.ndarray, np.ndarray, int]]:
    """Of every text under every member: log-likelihood, (N, texts) float64, nats, and whether greedy decoding gives
    it, (N, texts) bool; and the passes over the base."""
    totals, greedy = np.zeros((population.size, len(texts))), np.zeros((population.size, len(texts)), dtype=bool)

    def visit(piece: Batch, some: list[int], pairs: range) -> None:
        members = 2 * len(pairs)
        scores = score_batch(base, piece, PopulationRows(delta, population, pairs), members)
        totals[2 * pairs.start : 2 * pairs.stop, some] = scores.total.view(members, len(some)).numpy()
        greedy[2 * pairs.start : 2 * pairs.stop, some] = scores.greedy.view(members, len(some)).numpy()

    passes = yield from _population_batches(base, population, texts, room, 1, visit)
    return totals, greedy, passes


def _solved(
    events: Sequence[Event], own: Sequence[Sequence[int]], greedy: np.ndarray, full: np.ndarray
) -> tuple[float | None, ...]:
    """full: (members, tasks) bool, whether the answer of each is as good as can be."""
    graded = iter(full.T)
    shares: list[float | None] = []
    for event, texts in zip(events, own, strict=True):
        if event.kind == "task":
            shares.append(float(next(graded).mean()))
        else:
            shares.append(float(greedy[:, list(texts)].all(1).mean()) if event.kind == "demonstration" else None)
    return tuple(shares)


def drift(
    base: Base, delta: Delta, population: Population, protected: Sequence[Text], room: Plan
) -> Slices[np.ndarray]:
    """Mean KL(anchor || member) a token over the protected texts, (N,) float64, nats."""
    each = np.zeros((population.size, len(protected)))

    def visit(piece: Batch, some: list[int], pairs: range) -> None:
        members = 2 * len(pairs)
        found = kl_batch(base, piece, PopulationRows(delta, population, pairs), members)
        each[2 * pairs.start : 2 * pairs.stop, some] = found.view(members, len(some)).numpy()

    # Every answer position keeps a distribution over the whole vocabulary, of the anchor and of each row.
    yield from _population_batches(base, population, protected, room, 2, visit)
    return each.mean(1)


def _population_batches(
    base: Base,
    population: Population,
    texts: Sequence[Text],
    room: Plan,
    distributions: int,
    visit: Callable[[Batch, list[int], range], None],
) -> Slices[int]:
    """`visit(batch, indices of its texts, pairs)` until every pair has met every text; how many visits there were."""

    def work(chunk: Chunk) -> None:
        visit(chunk.batch(base, texts), chunk.texts, chunk.pairs)
        base.costs.fitted()

    def tokens(chunk: Chunk) -> int:  # one that is kept whole costs about what reading it does
        return 2 * len(chunk.pairs) * padded(texts, chunk.texts) * distributions

    room = replace(room, slice_tokens=room.slice_tokens // distributions)
    some = yield from chunks(base, population.pairs, texts, room, distributions)
    return (yield from halving(base.costs, some, work, Chunk.halves, tokens))


@dataclass(frozen=True)
class Chunk:
    """One population batch: these pairs, each on these texts (indices). shared: their common beginning is read once a
    member."""

    pairs: range
    texts: list[int]
    shared: bool

    def batch(self, base: Base, texts: Sequence[Text]) -> Batch:
        """The texts of one member."""
        batch = collate(base, [texts[i] for i in self.texts])
        return batch if self.shared else replace(batch, shared=0)

    def halves(self) -> list["Chunk"]:
        """Two of half the rows; itself where it is one pair on one text."""
        if len(self.pairs) > 1:
            half = len(self.pairs) // 2
            return [replace(self, pairs=pairs) for pairs in (self.pairs[:half], self.pairs[half:])]
        half = len(self.texts) // 2
        return [replace(self, texts=piece) for piece in (self.texts[:half], self.texts[half:]) if piece]


def chunks(base: Base, pairs: int, texts: Sequence[Text], room: Plan, distributions: int = 1) -> Slices[list[Chunk]]:
    """Population batches of `pairs` pairs on these texts: texts of similar length together, all of them where a pair
    of members fits, else pieces; of one size, so that the shape does not change from batch to batch. Yields after
    each length, since one that is new is measured first. Raises StateError where not even one pair on one text fits."""
    found = []
    for index in batches(texts, room.slice_tokens // 2):
        batch = collate(base, [texts[i] for i in index])
        shape = Shape(batch.ids.shape[1], len(batch.columns), distributions)
        wanted = 2 * pairs * len(index)
        shared = batch.shared > 0 and room.shares(base, shape, wanted)
        rows = room.rows(base, with_cache(base, shape) if shared else shape, wanted)
        width = min(len(index), rows // 2)
        most = max(1, rows // (2 * width))
        each = -(-pairs // -(-pairs // most))
        pieces = [index[i : i + width] for i in range(0, len(index), width)]
        starts = range(0, pairs, each)
        found += [Chunk(range(s, min(s + each, pairs)), piece, shared) for piece in pieces for s in starts]
        yield
    return found


def _graded(
    base: Base,
    delta: Delta,
    population: Population,
    tasks: Sequence[Event],
    task_tokens: int,
    room: Plan,
    grade: Grade | None,
) -> Slices[np.ndarray]:
    """Grades of every member's own greedy answers, (N, tasks) float64."""
    if not tasks:
        return np.zeros((population.size, 0))
    sampling = Sampling(max_tokens=task_tokens)
    prompts = [encode_prompt(base, event.exchanges[0].prompt) for event in tasks]
    members = [Member(delta, population, p, sign) for p in range(population.pairs) for sign in (1, -1)]
    rows = [Row(prompt, member, sampling) for member in members for prompt in prompts]
    longest = max(len(prompt) for prompt in prompts) + task_tokens
    element = torch.finfo(base.dtype).bits // 8
    each = population.basis.member_bytes(element, population.apart)
    at_once = room.answers(base, longest, min(MOST_ANSWERS, len(rows)), each)
    answers = yield from generate(base, rows, max_rows=at_once)
    if grade is not None:  # of all members at once: a reward function may be a model, which likes large batches
        own = grade(list(tasks) * population.size, [answer.text for answer in answers])
        return np.array(own, dtype=np.float64).reshape(population.size, len(tasks))
    given = [(tasks[i % len(tasks)].grader or {}, answer.text) for i, answer in enumerate(answers)]
    grades = yield from graders.graded(given)
    return np.array(grades, dtype=np.float64).reshape(population.size, len(tasks))
