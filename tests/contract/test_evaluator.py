"""The evaluator's contract: shares of a population, shapes, memory that runs out, and what crosses the protocol."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_es import evaluator, model, strategy
from edge_es.answers import Row, Sampling
from edge_es.decode import Decoder, generate
from edge_es.evaluator import Ask, InProcess, Scores
from edge_es.fitness import combine
from edge_es.learner import turn
from edge_es.likelihood import Text, kl, score
from edge_es.memory import OPEN
from edge_es.model import Base, Costs
from edge_es.sidechannel import Member, Rows
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.spaces.inputs import visit_inputs
from tests.contract.conftest import demonstrations, protected, random_delta
from tests.contract.test_learner import configuration, mixed_events, start

MEMBERS, ITEMS = 32, 6


def ask(pairs: range = range(MEMBERS // 2), **changes: Any) -> Ask:
    whole = Ask(0, 5, 9, 0.1, pairs, tuple(demonstrations(ITEMS)), {"rating": 0.1}, 8)
    return replace(whole, **changes)


def in_batches_of(base: Base, delta: Delta, members: int) -> Scores:
    """A member's texts are of one length, so that slices hold whole members."""
    texts = [len(text) for event in demonstrations(ITEMS) for text in evaluator.texts_of(base, event)]
    return run(InProcess(base, (), "auto", members * ITEMS * max(texts)).scores(delta, ask()))


def step(delta: Delta, scores: Scores) -> torch.Tensor:
    fitness = combine(scores.raw, ["demonstration"] * ITEMS, None, 0.0)
    return strategy.raw_step(delta, 5, 9, strategy.zscore(fitness.members.tolist()), 0.5)


def test_batches_of_any_size_give_the_same_step(base: Base) -> None:
    delta = random_delta(base)
    steps = {}
    for members in (4, 16, 32):
        scores = in_batches_of(base, delta, members)
        assert scores.passes == MEMBERS // members
        steps[members] = step(delta, scores)
        assert np.array_equal(in_batches_of(base, delta, members).raw, scores.raw)  # bit for bit at one shape
    whole = steps[32]
    for members in (4, 16):
        assert float((steps[members] - whole).norm() / whole.norm()) < 1e-3


def test_a_population_can_be_shared_out(base: Base) -> None:
    delta = random_delta(base)
    at = InProcess(base, protected(base), "auto")
    events = tuple(mixed_events())
    whole = run(at.scores(delta, ask(events=events, near=(0, 3))))
    shares = [run(at.scores(delta, ask(pairs, events=events, near=(0, 3)))) for pairs in (range(0, 5), range(5, 16))]
    assert whole.raw.shape == (len(events), MEMBERS) and whole.drift is not None and whole.drift.shape == (MEMBERS,)
    np.testing.assert_allclose(np.concatenate([s.raw for s in shares], 1), whole.raw, rtol=1e-4, atol=1e-4)
    drifts = [s.drift for s in shares if s.drift is not None]
    np.testing.assert_allclose(np.concatenate(drifts), whole.drift, rtol=1e-3, atol=1e-5)


def test_only_seeds_numbers_and_items_cross() -> None:
    def plain(value: Any) -> bool:
        if is_dataclass(value):
            return all(plain(getattr(value, field.name)) for field in fields(value))
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(one) for key, one in value.items())
        if isinstance(value, (tuple, list)):
            return all(plain(one) for one in value)
        return value is None or isinstance(value, (int, float, str, range))

    assert plain(ask(events=tuple(mixed_events()), near=(1, 2)))
    assert not plain(ask(near=(torch.zeros(1),)))


def lacking(most: int, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """`score_batch` on a device that holds at most so many rows."""

    def score_batch(base: Base, batch: Any, rows: Rows | None, repeats: int = 1) -> Any:
        if repeats * len(batch.ids) > most:
            raise error
        return real(base, batch, rows, repeats)

    return score_batch


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
OUT_ON_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize(("most", "error"), [(100, OUT), (30, OUT), (5, OUT), (2, OUT_ON_CPU)])
def test_a_batch_that_does_not_fit_is_halved(
    base: Base, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception
) -> None:
    delta, events = random_delta(base), demonstrations(ITEMS)
    wanted = run(InProcess(base, (), "auto").scores(delta, ask()))
    fresh = replace(base, costs=Costs())
    monkeypatch.setattr(evaluator, "score_batch", lacking(most, evaluator.score_batch, error))
    at = InProcess(fresh, (), str(base.weight_bytes + 40_000_000))
    scores = run(at.scores(delta, ask()))
    np.testing.assert_allclose(scores.raw, wanted.raw, rtol=1e-3, atol=1e-3)
    assert scores.halved == fresh.costs.halved >= 1 and scores.passes >= MEMBERS * ITEMS / most

    state, around = start(fresh, configuration())
    run(turn(state, events, True, around))
    assert "batches_halved" in around.journal.rows()[-1].stats


def test_what_is_no_lack_of_memory_is_not_hidden(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = replace(base, costs=Costs())
    bug = RuntimeError("shapes cannot be multiplied")
    monkeypatch.setattr(evaluator, "score_batch", lacking(0, evaluator.score_batch, bug))
    with pytest.raises(RuntimeError, match="multiplied"):
        run(InProcess(fresh, (), "auto").scores(random_delta(base), ask()))
    monkeypatch.setattr(evaluator, "score_batch", lacking(0, evaluator.score_batch, OUT))
    with pytest.raises(torch.OutOfMemoryError):  # not even one pair on one text: nothing is left to halve
        run(InProcess(fresh, (), "auto").scores(random_delta(base), ask()))


def lacking_forward(base: Base, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward pass of more rows, and where it fails it does so at its last layer."""
    head, real = base.model.get_output_embeddings(), base.model.get_output_embeddings().forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        if len(x) > most:
            raise OUT
        return real(x)

    monkeypatch.setattr(head, "forward", forward)


SOME = [Text((65, 66, 67 + i % 5), tuple(range(70, 71 + i % 3))) for i in range(11)]


@pytest.mark.parametrize("most", [7, 1, 0])
def test_what_no_population_shares_is_halved_too(base: Base, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Scores of the anchor, the canary's KL, and the inputs, of which no layer's may count twice."""
    fresh, delta = replace(base, costs=Costs()), random_delta(base)

    def inputs() -> dict[str, torch.Tensor]:
        counted = {name: torch.zeros(len(SOME)) for name in base.layers}

        def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
            counted[name].index_add_(0, owners, torch.ones(len(owners)))

        run(visit_inputs(fresh, delta, SOME, base.layers, visit, OPEN))
        return counted

    works: list[Callable[[], Any]] = [
        lambda: run(score(fresh, delta, SOME)).total,
        lambda: run(kl(fresh, delta, SOME)),
        inputs,
    ]
    wanted = [work() for work in works]
    assert fresh.costs.halved == 0
    lacking_forward(base, most, monkeypatch)
    for work, known in zip(works, wanted, strict=True):
        fresh.costs.halvings = 0
        halved = fresh.costs.halved
        if most == 0:
            with pytest.raises(torch.OutOfMemoryError):
                work()
            continue
        found = work()
        if isinstance(known, dict):
            assert all(torch.equal(found[name], known[name]) for name in known)
        else:
            torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-4)
        assert fresh.costs.halved > halved


@pytest.mark.parametrize("most", [9, 2, 1, 0])
@pytest.mark.parametrize("step", ["admit", "step"])
def test_answers_that_do_not_fit_are_begun_again_a_few_at_a_time(
    base: Base, monkeypatch: pytest.MonkeyPatch, most: int, step: str
) -> None:
    fresh, delta = replace(base, costs=Costs()), random_delta(base)
    population = strategy.ask(delta, 1, 2, 8, 0.1)
    rows = [
        Row(text.prompt, Member(delta, population, at % 4, 1), Sampling(4 + at % 3, temperature=1.0, seed=at))
        for at, text in enumerate(SOME)
    ]
    wanted = [answer.tokens for answer in run(generate(fresh, rows, 8))]
    real = getattr(Decoder, step)

    def short(decoder: Decoder, *args: Any) -> Any:
        if len(decoder.answers) + sum(len(some) for some in args) > most:
            raise OUT
        return real(decoder, *args)

    monkeypatch.setattr(Decoder, step, short)
    if most == 0:
        with pytest.raises(torch.OutOfMemoryError):
            run(generate(fresh, rows, 8))
    else:
        assert [answer.tokens for answer in run(generate(fresh, rows, 8))] == wanted
    assert (fresh.costs.halved > 0) == (most < 8)


def test_rows_double_again_after_enough_batches_that_fitted(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = 12
    monkeypatch.setattr(model, "CLEAN_BATCHES", clean)
    fresh, delta = replace(base, costs=Costs()), random_delta(base)
    at = InProcess(fresh, (), "auto")
    whole = run(at.scores(delta, ask())).passes
    for _ in range(3):
        fresh.costs.halve()
    passes = [run(at.scores(delta, ask())).passes]
    while passes[-1] > whole and len(passes) < 3 * clean:
        passes.append(run(at.scores(delta, ask())).passes)
    assert passes[0] == 8 * whole and passes[-1] == whole and sorted(passes, reverse=True) == passes
    assert 3 * clean <= sum(passes[:-1]) <= 3 * clean + 8 * whole
    assert fresh.costs.halved == 3 and fresh.costs.halvings == 0  # what `status` shows never falls


def test_many_halvings_never_refuse_what_fits(base: Base) -> None:
    fresh, delta = replace(base, costs=Costs()), random_delta(base)
    for _ in range(40):
        fresh.costs.halve()
    at = InProcess(fresh, (), str(base.weight_bytes + 3_000_000))
    assert run(at.scores(delta, ask(range(2), events=tuple(mixed_events())))).passes > 1
