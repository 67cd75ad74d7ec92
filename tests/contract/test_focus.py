"""The blocks that teach most for their harm are found, and the input side keeps those alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_es import ledger
from edge_es.config import SearchSection
from edge_es.evaluator import Ask, InProcess
from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.focus import LEAST_DRIFT, SCOUTS, Block, Felt, chosen, joined, layer_of, scouted, total
from edge_es.learner import turn
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta
from edge_es.state import resume
from edge_es.strategy import Population
from tests.contract.conftest import demonstrations, random_delta
from tests.contract.test_learner import configuration, mixed_events, start

ASK = Ask(0, 5, 9, 0.05, range(0), (), {}, 8)


def side_of(base: Base) -> InputSide:
    side = random_delta(base, rank=1).active.basis
    assert isinstance(side, InputSide)
    return side


def test_members_that_are_apart_move_one_linear_each(base: Base) -> None:
    side = side_of(base)
    names = list(side.slots)
    pairs = range(2 * len(names))
    apart = Population(5, 9, 2 * len(pairs), 0.1, side, apart=True)
    whole = replace(apart, apart=False, made={})
    for at, name in enumerate(names):
        eps, every = (p.draw([name], pairs, base.device)[0] for p in (apart, whole))
        for pair in pairs:
            assert bool(eps[pair].any()) == (pair % len(names) == at)
            if pair % len(names) == at:
                assert bool((eps[pair] == every[pair]).all())


def gains(base: Base, sides: dict[str, InputSide], count: int = 8) -> dict[Block, Felt]:
    return run(scouted(InProcess(base, (), "auto"), Delta(), sides, ASK, demonstrations(count), 0))


def test_what_cannot_be_felt_is_not_chosen(base: Base) -> None:
    side = side_of(base)
    deaf = {name: a if ".v_proj" in name or ".down_proj" in name else a * 0 for name, a in side.a.items()}
    felt = gains(base, {"all": InputSide(deaf, side.outs)}, 12)
    assert list(felt) == [("all", name) for name in side.slots]
    assert {name for (_, name), one in felt.items() if one.gain > 0} == {n for n, a in deaf.items() if bool(a.any())}
    kept = chosen(felt)
    assert kept and all(felt[block].gain > 0 for block in kept)
    assert chosen(dict.fromkeys(felt, Felt(0.0, None))) == []
    assert chosen(dict.fromkeys(felt, Felt(float("nan"), None))) == []


def test_new_inputs_by_their_gain_and_answers_that_differ_by_gain_for_harm() -> None:
    new = {
        ("all", "layers.0.k"): Felt(5.0, 1e-3),
        ("all", "layers.0.v"): Felt(2.0, 1e-3),
        ("all", "layers.2.v"): Felt(3.5, 0.0),
        ("all", "layers.2.k"): Felt(0.5, 0.0),
    }
    answers = {
        ("unexpected", "layers.0.k"): Felt(1.0, 1e-3),
        ("unexpected", "layers.0.v"): Felt(9.0, 1e-3),
        ("unexpected", "layers.1.k"): Felt(4.0, 1e-4),
        ("unexpected", "layers.1.v"): Felt(5.0, 2e-4),
        ("unexpected", "layers.1.o"): Felt(0.5, 1e-3),
    }
    first = [("all", "layers.0.k"), ("all", "layers.0.v"), ("all", "layers.2.v")]  # 10.5 of 11; 8.5 are too few
    assert chosen(new) == first
    both = [("unexpected", "layers.1.k"), ("unexpected", "layers.1.v")]
    assert chosen(answers) == both  # 81 / 3e-4; k alone 16 / 1e-4
    assert chosen({**answers, ("unexpected", "layers.1.v"): Felt(1.0, 2e-4)}) == [("unexpected", "layers.1.k")]
    assert chosen(new | answers) == [*first, *chosen(answers)]
    free = {block: replace(one, drift=None) for block, one in answers.items()}
    assert chosen(free) == [("unexpected", "layers.0.k"), ("unexpected", "layers.0.v")]
    assert chosen({}) == []
    whole = total([answers["unexpected", "layers.1.k"], answers["unexpected", "layers.1.v"]])
    assert whole.gain == 9.0 and whole.drift == pytest.approx(3e-4)
    assert layer_of("model.layers.3.mlp.up_proj") == "model.layers.3" and layer_of("head") == "head"


def test_the_gain_is_that_of_the_gradient(base: Base) -> None:
    """Against the squared half-differences of many more pairs, each linear by itself."""
    side, events = side_of(base), tuple(demonstrations(8))
    few = gains(base, {"all": side})
    felt = {}
    for name in side.slots:
        alone = Delta().with_basis(side.only([name]))
        scores = run(InProcess(base, (), "auto").scores(alone, replace(ASK, pairs=range(64), events=events)))
        members = scores.raw.mean(0)
        felt[name] = float((((members[::2] - members[1::2]) / 2) ** 2).mean())
    assert SCOUTS >= 4
    assert np.corrcoef([few["all", n].gain for n in felt], list(felt.values()))[0, 1] > 0.5


def test_candidates_are_measured_alike(base: Base) -> None:
    """The same side twice: the same noise, the same items, so the same gain, and the linears in their order."""
    side = side_of(base)
    felt = gains(base, {"all": side, "unexpected": side})
    for name in side.slots:
        assert felt["all", name].gain == pytest.approx(felt["unexpected", name].gain, rel=1e-6)


def test_harm_is_the_drift_of_the_members_that_move_a_block(base: Base) -> None:
    side = side_of(base)
    texts = [text_of(base, Exchange(Prompt.user(f"Say {c}."), c)) for c in "abcd"]
    evaluator = InProcess(base, texts, "auto")
    felt = run(scouted(evaluator, Delta(), {"all": side}, ASK, demonstrations(8), len(texts)))
    for (_, name), one in felt.items():
        assert one.drift is not None and one.harm == one.drift + LEAST_DRIFT
        alone = Delta().with_basis(side.only([name]))
        near = tuple(range(len(texts)))
        ask = replace(ASK, pairs=range(16), events=tuple(demonstrations(1)), near=near, sigma=ASK.sigma)
        drift = run(evaluator.scores(alone, ask)).drift
        assert drift is not None and 0.1 < (one.drift + 1e-7) / (float(drift.mean()) + 1e-7) < 10


def test_blocks_of_one_linear_are_joined_to_orthonormal_rows(base: Base) -> None:
    side = side_of(base)
    first, second, *_ = side.a
    turned = {name: torch.roll(a, 1, 1) for name, a in side.a.items()}
    other = InputSide(turned, side.outs)
    both = joined({"all": side, "unexpected": other}, [("all", first), ("unexpected", first), ("unexpected", second)])
    assert list(both.a) == [first, second] and both.a[first].shape[0] == 2
    torch.testing.assert_close(both.a[first] @ both.a[first].T, torch.eye(2), atol=1e-5, rtol=0)
    for rows in (side.a[first], turned[first]):  # both are still read
        torch.testing.assert_close(rows @ both.a[first].T @ both.a[first], rows, atol=1e-5, rtol=0)
    assert bool((both.a[second] == turned[second]).all())


@pytest.mark.parametrize("kept", [1.0, 0.3])
def test_members_apart_score_as_they_do_with_all_noise_drawn(
    base: Base, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    """Only the pairs that move a linear are drawn for it; in text scores and in answers of their own, masked or not."""
    side = side_of(base)
    if kept < 1:
        rows = {name: torch.arange(round(kept * out)) for name, out in side.outs.items()}
        side = InputSide(side.a, side.outs, rows)
    delta = Delta().with_basis(side)
    graded = [event for event in mixed_events() if event.kind == "task"]
    count = len(side.slots)
    for pairs in (range(2 * count + 1), range(3, 9), range(count - 2, count + 5)):
        ask = replace(ASK, pairs=pairs, events=(*demonstrations(3), *graded), apart=True, sigma=0.3)
        found = run(InProcess(base, (), "auto", 600).scores(delta, ask))
        with monkeypatch.context() as patch:
            patch.setattr(Population, "moving", lambda population, name, pairs: pairs)
            every = run(InProcess(base, (), "auto", 600).scores(delta, ask))
        np.testing.assert_allclose(found.raw, every.raw, rtol=1e-4, atol=1e-4)
        assert found.passes > 1 and np.ptp(found.raw[0]) > 0.01


@pytest.mark.parametrize("focus", [True, False])
def test_a_turn_keeps_the_linears_in_focus(base: Base, focus: bool) -> None:
    search = SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2, focus=focus, target_modules=["all-linear"])
    state, around = start(base, configuration(search=search))
    for _ in range(3):
        state = run(turn(state, demonstrations(6), True, around))
    basis = next(row for row in around.journal.rows() if row.kind == "basis")
    kept = set(state.delta.active.basis.slots)
    if focus:
        assert 0 < len(kept) <= len(base.layers)
        assert len(basis.stats["scouted"]) == len(base.layers) and "the best of them" in (basis.reason or "")
    else:
        assert kept == set(base.layers) and "scouted" not in basis.stats
    assert [row.kind for row in around.journal.rows()].count("basis") == 1
    resumed = resume(around.journal, base.device)
    assert resumed.protection == state.protection and dict(resumed.solved) == dict(state.solved)
    assert ledger.verify(around.journal)["mismatches"] == 0
