"""Invariant 9: what a population batch really holds stays within the planned room, and batches shrink to fit."""

from dataclasses import replace
from typing import Any

import pytest

from edge_es.config import LearnSection, ProbesSection, ProtectSection
from edge_es.evaluator import Ask, InProcess
from edge_es.feedback import Prompt
from edge_es.learner import turn
from edge_es.memory import Plan, Shape, plan, row_bytes
from edge_es.meter import LiveBytes
from edge_es.model import Base, Costs
from edge_es.probes.scoring import encode
from edge_es.probes.suites import Item, Suite
from edge_es.protected import protected_texts
from edge_es.retention import probe_round
from edge_es.slices import Slices, run
from tests.contract.conftest import demonstrations, random_delta
from tests.contract.test_learner import configuration, mixed_events, start


@pytest.mark.parametrize(("extra", "shrunk"), [(700_000, True), (2_000_000, True), (20_000_000, False)])
def test_a_step_stays_in_its_room(base: Base, extra: int, shrunk: bool) -> None:
    delta = random_delta(base)
    held = delta.active.basis.noise_bytes(8, 4)
    budget = str(base.weight_bytes + 2 * delta.bytes() + held + extra)
    ask = Ask(0, 0, 1, 0.1, range(8), tuple(demonstrations(6)), {}, 8)
    run(InProcess(base, (), budget).scores(delta, ask))  # measures its shapes, beside the step and within the budget
    with LiveBytes() as live:
        scores = run(InProcess(base, (), budget).scores(delta, ask))
    assert live.peak - held <= extra, (live.peak, held, extra)
    assert live.peak > 0.1 * min(extra, 5_000_000)  # the meter really sees the tensors
    assert (scores.passes > 1) == shrunk  # and the row's stats say so


def test_measuring_stays_in_the_room_it_finds(base: Base) -> None:
    """What a shape costs is found with four rows of it, of which a pair must fit in any case."""
    fresh = replace(base, costs=Costs())
    with LiveBytes() as live:
        fixed, each = row_bytes(fresh, Shape(64, 16))
    assert live.peak <= fixed + 5 * each
    assert list(fresh.costs.measured) == [(64, 16, 1)]
    assert row_bytes(fresh, Shape(50, 3)) == (fixed, each)  # one measurement for shapes that round to the same


def test_a_whole_turn_stays_in_its_budget(base: Base) -> None:
    """Input side, anchor, members' answers, KL in the fitness, canary: with events of every kind."""
    extra = 3_000_000
    budget = LearnSection(memory_budget=str(base.weight_bytes + extra), kl_below=1.0, task_tokens=8)
    state, around = start(base, configuration(learn=budget))
    with LiveBytes() as live:
        state = run(turn(state, mixed_events(), True, around))
    assert around.journal.rows()[-1].stats["kl"] is not None and state.version == 2
    assert 0.1 * extra < live.peak <= extra


def probing(base: Base, room: Plan) -> Slices[object]:
    words = [f"{word} and {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")] * 8
    prompts = [Prompt(text=word) for word in words]
    grader = {"type": "string_check", "operation": "eq", "reference": "x"}
    suites = [
        Suite("choice", "choice", tuple(Item(p, choices=("a", "bcd"), label=0) for p in prompts)),
        Suite("generation", "generation", tuple(Item(p, "one") for p in prompts)),
        Suite("graded", "generation", tuple(Item(p, grader=grader, max_tokens=12) for p in prompts)),
        Suite("perplexity", "perplexity", tuple(Item(None, word, ended=False) for word in words)),
        Suite("kl", "kl", tuple(Item(p) for p in prompts)),
        Suite("learned-rating", "rating", tuple(Item(p, "yes", value=1.0) for p in prompts)),
    ]
    encoded = [encode(base, suite) for suite in suites]
    return probe_round(base, random_delta(base), 1, encoded, lambda suite: {}, ProbesSection(), room)


def sampling(base: Base, room: Plan) -> Slices[object]:
    return protected_texts(base, ProtectSection(), room)


@pytest.mark.parametrize("work", [probing, sampling])
@pytest.mark.parametrize("extra", [1_000_000, 4_000_000])
def test_what_no_population_shares_stays_in_its_room(base: Base, work: Any, extra: int) -> None:
    room = plan(base, random_delta(base), str(base.weight_bytes + extra), 0)
    slices = work(base, room)
    with LiveBytes() as live:
        run(slices)
    assert 0.1 * extra < live.peak <= room.room
