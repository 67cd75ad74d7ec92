"""Invariant 9: what a population batch really holds stays within the planned room, and batches shrink to fit."""

from typing import Any

import pytest
import torch

from edge_es import evaluator, memory, noise, protected
from edge_es.answers import Row, Sampling
from edge_es.config import LearnSection, ProbesSection, ProtectSection
from edge_es.decode import generate
from edge_es.evaluator import Ask, InProcess
from edge_es.feedback import Prompt
from edge_es.learner import turn
from edge_es.memory import MARGIN, Plan, plan
from edge_es.meter import LiveBytes
from edge_es.model import Base
from edge_es.probes.scoring import encode
from edge_es.probes.suites import Item, Suite
from edge_es.protected import protected_texts
from edge_es.retention import probe_round
from edge_es.sidechannel import Member, PopulationRows
from edge_es.slices import Slices, run
from edge_es.spaces.basis import Basis
from edge_es.spaces.delta import Delta, Part
from edge_es.spaces.full import Entries
from edge_es.spaces.scales import Scales, norms
from edge_es.spaces.weights import scale_blocks
from edge_es.strategy import Population, apply
from edge_es.strategy import ask as asked
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
def test_what_no_population_shares_stays_in_its_room(
    base: Base, monkeypatch: pytest.MonkeyPatch, work: Any, extra: int
) -> None:
    monkeypatch.setattr(protected, "SAMPLES", 12)  # more than there are at once in the smaller room: rows join others
    room = plan(base, random_delta(base), str(base.weight_bytes + extra), 0)
    slices = work(base, room)
    with LiveBytes() as live:
        run(slices)
    assert 0.1 * extra < live.peak <= room.room


def test_auto_leaves_room_for_what_is_still_to_come(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights and the version are no part of what is free any more; the noise and a candidate are still to come."""
    delta = random_delta(base)
    monkeypatch.setattr(memory, "_free", lambda device: 10_000_000)
    rooms = [plan(base, delta, "auto", noise_bytes).room for noise_bytes in (0, 1_000_000)]
    assert rooms[0] - rooms[1] == 1_000_000
    merged = sum(t.nbytes for pair in delta.merged.values() for t in pair)
    assert rooms[0] + delta.bytes() + merged == int(10_000_000 * MARGIN)


def test_the_version_and_a_candidate_are_planned_with_what_passes_read_of_them(base: Base) -> None:
    with LiveBytes() as live:
        delta = random_delta(base)
        candidate = apply(delta, 0, 1, [1.0, -1.0], 0.1, {})
        read = delta.merged, candidate.merged
    planned = plan(base, Delta(), "100MiB", 0).room - plan(base, delta, "100MiB", 0).room
    assert all(read) and 0.7 * planned < live.now <= planned


def test_a_room_that_is_given_is_kept(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    delta, budget = random_delta(base), str(base.weight_bytes + 2_000_000)
    some = Ask(0, 0, 1, 0.1, range(8), tuple(demonstrations(6)), {}, 8)
    tight = run(InProcess(base, (), budget).scores(delta, some))
    room = plan(base, delta, budget, delta.active.basis.noise_bytes(8, 4))
    monkeypatch.setattr(evaluator, "plan", None)
    assert run(InProcess(base, (), "auto", room=room).scores(delta, some)).passes == tight.passes > 1


def chunked(base: Base, delta: Delta, population: Population, sizes: tuple[int, ...]) -> None:
    ids = torch.zeros(1, 16, dtype=torch.int64)
    for size in sizes:
        for first in range(0, population.pairs, size):
            pairs = range(first, min(first + size, population.pairs))
            with torch.inference_mode(), base.channel.using(PopulationRows(delta, population, pairs)):
                base.model(input_ids=ids.repeat(2 * len(pairs), 1), logits_to_keep=1)


@pytest.mark.parametrize("apart", [False, True])
def test_noise_is_held_once_however_the_pairs_are_batched(base: Base, apart: bool) -> None:
    delta = random_delta(base)
    pairs = 2 * len(base.layers) + 3
    population = Population(0, 1, 2 * pairs, 0.1, delta.active.basis, apart=apart)
    chunked(base, delta, population, (pairs, 7, 4, 1))
    made = sum(tensor.nbytes for tensor in population.made.values())
    assert made <= delta.active.basis.noise_bytes(pairs, 4, apart)
    whole = pairs * delta.active.basis.size * 4
    assert made <= 3 * whole / len(base.layers) if apart else made == whole


def basis_of(base: Base, kind: str, density: float) -> Basis:
    """Of all linears, of which a mask keeps so many."""
    linears = {name: base.model.get_submodule(name) for name in base.layers}
    sizes = {name: (one.out_features, one.in_features) for name, one in linears.items()}
    blocks = {name: scale_blocks(one) for name, one in linears.items()}
    units = {n: blocks[n][0] if kind == "scales" else sizes[n][0] * sizes[n][1] for n in linears}
    kept = {n: torch.arange(max(1, round(density * units[n]))) for n in linears} if density < 1 else {}
    if kind == "full":
        return Entries(sizes, kept)
    return Scales({n: norms(one, units[n], kept.get(n)) for n, one in linears.items()}, blocks, kept)


@pytest.mark.parametrize("kind", ["scales", "full"])
@pytest.mark.parametrize("density", [0.02, 1.0])
def test_changes_of_full_size_are_planned_whole(base: Base, kind: str, density: float) -> None:
    """Whatever a mask keeps of it."""
    basis = basis_of(base, kind, density)
    name = max(basis.slots, key=lambda name: base.model.get_submodule(name).weight.numel())
    linear, population = base.model.get_submodule(name), asked(Delta((Part(basis, None),)), 0, 1, 4, 0.1)
    x, out = torch.zeros(4, 1, linear.in_features), torch.zeros(4, 1, linear.out_features)
    with LiveBytes() as live, torch.inference_mode():
        basis.add_pairs(population, range(2), name, None, linear, x, out)
    planned = basis.noise_bytes(2, 4)
    assert 0.25 * planned < live.peak <= planned


def test_drawing_on_a_device_holds_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "DEVICE_BLOCK", 2**14)
    for rows, size in ((1, 2**18), (64, 2**12), (3, 1)):
        with LiveBytes() as live:
            noise._bits_on_device([(row, 1) for row in range(rows)], size, torch.device("cpu"))
        fixed = 64 + 16 * rows  # the keys
        assert live.peak <= rows * size + min(rows * size, 2**14) * noise.BESIDE["cuda"] + fixed


def test_members_answers_are_planned_with_their_noise(base: Base) -> None:
    delta = random_delta(base)
    population = asked(delta, 0, 1, 16, 0.1)
    rows = [Row((65, 66), Member(delta, population, p, s), Sampling(8)) for p in range(8) for s in (1, -1)]
    each = delta.active.basis.member_bytes(4)
    run(generate(base, rows, 1))  # the noise itself is planned apart from the answers
    room = Plan(3_000_000, 2**20)
    at_once = room.answers(base, 10, 1024, each)
    assert at_once < room.answers(base, 10, 1024)
    many = (rows * 100)[:at_once]
    with LiveBytes() as live:
        run(generate(base, many, at_once))
    assert 0.1 * room.room < live.peak <= room.room
    assert sum(t.nbytes for t in population.made.values()) * at_once / 8 == each * at_once
