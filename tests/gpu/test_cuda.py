"""What a GPU must do as a CPU does: the same noise and the same steps bit for bit, a base that stays as it is, and no
more memory than it was given."""

from collections.abc import Iterator

import pytest
import torch

from edge_es import ledger, noise
from edge_es.answers import Row, Sampling
from edge_es.config import Config, ModelSection, SearchSection
from edge_es.decode import generate
from edge_es.evaluator import Ask, InProcess
from edge_es.feedback import Prompt
from edge_es.learner import turn
from edge_es.ledger import MemoryJournal, anchor_row, rebuild
from edge_es.likelihood import answer_logits, collate, score
from edge_es.memory import hold_to
from edge_es.model import Base, base_hash, encode_prompt, load_base
from edge_es.sidechannel import Member
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, flat_step
from edge_es.state import State, Surroundings, resume
from edge_es.strategy import ask
from tests.contract.conftest import demonstrations, protected, random_delta, texts

GIB = 2**30


@pytest.fixture(scope="module", params=["nf4", "int8", "none"])
def base(request: pytest.FixtureRequest) -> Base:
    """The embedded model as it is served on a GPU, in bf16."""
    return load_base(ModelSection(ref="pocket", quantization=request.param, device="cuda"))


@pytest.fixture
def free_again() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def start(base: Base, **sections: object) -> tuple[State, Surroundings]:
    config = Config(**{"search": SearchSection(population=16, alpha=0.2), **sections})  # type: ignore[arg-type]
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    return resume(journal, base.device), Surroundings(base, config, journal, protected(base), {"rating": 0.1})


@pytest.mark.parametrize("size", [1, 7, 2**15 + 1, 2**18 + 3])
def test_noise_is_the_cpus_bit_for_bit(size: int) -> None:
    keys = [noise.key(3, 5, pair, "model.layers.0.k_proj") for pair in range(9)]
    assert torch.equal(noise.bits(keys, size, "cuda").cpu(), noise.bits(keys, size, "cpu"))


def test_a_step_is_the_cpus_bit_for_bit(base: Base) -> None:
    basis = random_delta(base).active.basis
    weights = [0.1 * (i - 7.3) for i in range(16)]
    here, there = (flat_step(basis.to(d), 1, 2, weights, d) for d in ("cuda", "cpu"))
    assert torch.equal(here.cpu(), there)


def test_what_a_gpu_learned_is_replayed_by_a_cpu(base: Base) -> None:
    """Turns with a renewal, gates and guards as they come: the same bits on both, and the base is as it was."""
    state, around = start(base)
    events = demonstrations(16, "seven")
    wanted = texts(base, events)
    before = run(score(base, state.delta, wanted)).total.mean()
    for _ in range(8):
        state = run(turn(state, events, True, around))
    assert state.version > 4
    assert run(score(base, state.delta, wanted)).total.mean() > before
    assert ledger.verify(around.journal)["mismatches"] == 0
    assert rebuild(around.journal, state.version).sha256 == state.delta.sha256
    assert base_hash(base) == base.sha256


def test_members_leave_no_trace_and_are_the_same_every_time(base: Base) -> None:
    delta = random_delta(base)
    batch = collate(base, texts(base, demonstrations(8)))
    before = answer_logits(base, batch, None)
    asked = Ask(0, 1, 1, 0.05, range(8), tuple(demonstrations(8)), {}, 8)
    first, again = (run(InProcess(base, (), "auto").scores(delta, asked)).raw for _ in range(2))
    assert (first == again).all() and first.std() > 0
    assert torch.equal(answer_logits(base, batch, None), before)


def test_answers_of_members_and_versions_stand_in_one_batch(base: Base) -> None:
    delta = random_delta(base, size=0.01)
    population = ask(delta, 0, 1, 8, 0.05)
    weights = [Delta(), delta, *(Member(delta, population, pair, sign) for pair in range(4) for sign in (1, -1))]
    prompt = encode_prompt(base, Prompt.user("Reverse the letters: stone"))
    answers = run(generate(base, [Row(prompt, one, Sampling(12)) for one in weights]))
    again = run(generate(base, [Row(prompt, one, Sampling(12)) for one in weights]))
    assert [a.tokens for a in answers] == [a.tokens for a in again]
    assert all(answer.finish for answer in answers)


def test_a_batch_that_does_not_fit_is_halved(free_again: None) -> None:
    """The budget is the allocator's limit, and something else has taken most of it."""
    base = load_base(ModelSection(ref="shape:llama-1b", quantization="nf4", device="cuda"))
    side = {"model.layers.3.self_attn.o_proj": torch.eye(1, 2048)}
    delta = Delta((Part(InputSide(side, base.outs(list(side))), torch.zeros(2048)),)).to(base.device)
    hold_to("3GiB", base.device)
    taken = torch.empty(int(1.2 * GIB), dtype=torch.uint8, device=base.device)
    events = tuple(demonstrations(16, "a rather long answer " * 8))
    scores = run(InProcess(base, (), "3GiB").scores(delta, Ask(0, 1, 1, 0.5, range(16), events, {}, 8)))
    assert scores.halved > 0 and scores.raw.shape == (16, 32) and scores.raw.std(1).min() > 0
    assert torch.cuda.max_memory_reserved() <= 3 * GIB
    assert base_hash(base) == base.sha256
    del taken
