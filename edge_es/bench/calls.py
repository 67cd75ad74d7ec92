"""What the bench asks of the library: a delta, a learning step, answers. The other files of the bench know none of
the functions that are called here, so a change of theirs is followed in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from edge_es import strategy
from edge_es.answers import Row, Sampling
from edge_es.bench.measure import clock
from edge_es.bench.rows import Items
from edge_es.config import Config
from edge_es.decode import generate
from edge_es.evaluator import MOST_ANSWERS, Ask, InProcess, chunks
from edge_es.fitness import combine, text_of
from edge_es.guards import guard
from edge_es.likelihood import Batch, Text, collate
from edge_es.memory import Plan, plan
from edge_es.meter import release
from edge_es.model import Base
from edge_es.sidechannel import Member, Weights
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part


@dataclass(frozen=True)
class Subject:
    """The model that is measured, what it learns from, the delta that it has learned so far, and the room for batches,
    which is taken once, so that all repeats have the same ones."""

    base: Base
    config: Config
    items: Items
    delta: Delta
    room: Plan

    @cached_property
    def texts(self) -> list[Text]:
        """The items' tokens."""
        return [text_of(self.base, event.exchanges[0]) for event in self.items.events]

    @property
    def members(self) -> int:
        """Of a population."""
        return self.config.search.population


@dataclass(frozen=True)
class Step:
    """scoring: seconds that the evaluation took. passes: batches it was done in. members: fitness, (N,)."""

    scoring: float
    passes: int
    members: tuple[float, ...]


@dataclass(frozen=True)
class Piece:
    """One batch of a step: the texts stand `repeats` times, once a member."""

    batch: Batch
    repeats: int


def subject(base: Base, config: Config, items: Items) -> Subject:
    """With a delta of one part: random orthonormal input sides in the configured layers, a small random output side."""
    generator = torch.Generator().manual_seed(config.search.seed)
    layers = base.targets(config.search.target_modules)
    sides = {}
    for name in layers:
        wide = torch.randn(base.model.get_submodule(name).in_features, config.search.rank, generator=generator)
        sides[name] = torch.linalg.qr(wide)[0].T.contiguous()
    side = InputSide(sides, base.outs(layers))
    b = torch.randn(side.size, generator=generator) * config.search.sigma
    delta = Delta((Part(side, b),)).to(base.device)
    release(base.device)
    held = side.noise_bytes(config.search.population // 2, torch.finfo(base.dtype).bits // 8)
    return Subject(base, config, items, delta, plan(base, delta, config.learn.memory_budget, held))


def step(it: Subject, number: int, rows: int | None = None) -> Step:
    """A learning step up to the candidate: ask, evaluate, shape, tell and guard. `rows`: at most so many a batch;
    None: as many as the memory budget allows. The candidate is dropped."""
    search, base, learn = it.config.search, it.base, it.config.learn
    tokens = None if rows is None else rows * max(len(text) for text in it.texts)
    evaluator = InProcess(base, (), learn.memory_budget, tokens, it.room)
    began = clock(base.device)
    pairs = range(search.population // 2)
    asked = Ask(0, search.seed, number, search.sigma, pairs, it.items.events, {}, learn.task_tokens)
    scores = run(evaluator.scores(it.delta, asked))
    fitness = combine(scores.raw, [event.kind for event in it.items.events], None, 0.0)
    scoring = clock(base.device) - began
    members = tuple(float(f) for f in fitness.members)
    shaped = strategy.SHAPING[search.shaping](members)
    guard(it.delta, search.seed, number, shaped, search.alpha, it.config.guards)
    return Step(scoring, scores.passes, members)


def pieces(it: Subject) -> list[Piece]:
    """The rows of a step as batches: as many, and with the same common beginnings, as the step has."""
    found = run(chunks(it.base, it.members // 2, it.texts, it.room))
    return [Piece(chunk.batch(it.base, it.texts), 2 * len(chunk.pairs)) for chunk in found]


def batch_of(it: Subject, rows: Sequence[int] | None = None, shared: bool = False) -> Batch:
    """These items (None: each of them once) as one batch; `shared`: with their common beginning marked."""
    batch = collate(it.base, it.texts if rows is None else [it.texts[i] for i in rows])
    return batch if shared else without_beginning(batch)


def without_beginning(batch: Batch) -> Batch:
    """The batch with every row read whole."""
    return replace(batch, shared=0)


def decode(it: Subject, number: int | None, new_tokens: int, only: int | None = None) -> int:
    """Decodes every item's prompt under every member of step `number`; None: N times under the anchor, each time as a
    prompt of its own: the decoder reads equal prompts under one version once, and then fewer rows would be compared
    with. `only`: so many times in place of N. Greedy, and no row ends early. Returns how many tokens were made."""
    count = it.members if only is None else only
    weights: list[Weights] = [Delta() for _ in range(count)]
    if number is not None:
        population = _ask(it.delta, it.config, number)
        weights = [Member(it.delta, population, m // 2, 1 if m % 2 == 0 else -1) for m in range(count)]
    base = replace(it.base, end_ids=())
    sampling = Sampling(max_tokens=new_tokens)
    rows = [Row(text.prompt, weight, sampling) for weight in weights for text in it.texts]
    answers = run(generate(base, rows, max_rows=answers_at_once(it, new_tokens)))
    return sum(len(answer.tokens) for answer in answers)


def answers_at_once(it: Subject, new_tokens: int) -> int:
    """How many answers the memory budget lets be in the making."""
    longest = max(len(text.prompt) for text in it.texts) + new_tokens
    each = it.delta.active.basis.member_bytes(torch.finfo(it.base.dtype).bits // 8)
    return it.room.answers(it.base, longest, min(MOST_ANSWERS, it.members * len(it.texts)), each)


def room(base: Base) -> int:
    """Bytes that may still be taken on the base's device."""
    release(base.device)
    return plan(base, Delta(), "auto", 0).room


def _ask(delta: Delta, config: Config, number: int) -> strategy.Population:
    search = config.search
    return strategy.ask(delta, search.seed, number, search.population, search.sigma)
