"""The linears that carry the fitness' sensitivity are found, and the input side keeps those alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_es import ledger
from edge_es.config import SearchSection
from edge_es.evaluator import Ask, InProcess
from edge_es.focus import SCOUTS, chosen, sensitivity
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
        eps, every = apart.draw(name, pairs, base.device), whole.draw(name, pairs, base.device)
        for pair in pairs:
            assert bool(eps[pair].any()) == (pair % len(names) == at)
            if pair % len(names) == at:
                assert bool((eps[pair] == every[pair]).all())


def test_a_linear_that_cannot_be_felt_has_no_share(base: Base) -> None:
    side = side_of(base)
    deaf = {name: a if ".v_proj" in name or ".down_proj" in name else a * 0 for name, a in side.a.items()}
    some = InputSide(deaf, side.outs)
    shares = run(sensitivity(InProcess(base, (), "auto"), Delta(), some, ASK, demonstrations(12)))
    assert list(shares) == list(some.slots) and sum(shares.values()) == pytest.approx(1.0)
    felt = {name for name, share in shares.items() if share > 0}
    assert felt == {name for name in deaf if bool(deaf[name].any())}
    assert set(chosen(shares, 1.0)) == felt
    assert chosen(shares, 1e-9) == [max(shares, key=lambda name: shares[name])]


def test_the_shares_are_those_of_the_gradient(base: Base) -> None:
    """Against the squared half-differences of many more pairs, each linear by itself."""
    side, events = side_of(base), tuple(demonstrations(8))
    few = run(sensitivity(InProcess(base, (), "auto"), Delta(), side, ASK, events))
    felt = {}
    for name in side.slots:
        alone = Delta().with_basis(side.only([name]))
        scores = run(InProcess(base, (), "auto").scores(alone, replace(ASK, pairs=range(64), events=events)))
        members = scores.raw.mean(0)
        felt[name] = float((((members[::2] - members[1::2]) / 2) ** 2).mean())
    exact = {name: one / sum(felt.values()) for name, one in felt.items()}
    assert SCOUTS >= 4
    names = list(exact)
    assert np.corrcoef([few[n] for n in names], [exact[n] for n in names])[0, 1] > 0.5


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


@pytest.mark.parametrize("focus", [0.5, 1.0])
def test_a_turn_keeps_the_linears_in_focus(base: Base, focus: float) -> None:
    search = SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2, focus=focus, target_modules=["all-linear"])
    state, around = start(base, configuration(search=search))
    for _ in range(3):
        state = run(turn(state, demonstrations(6), True, around))
    basis = next(row for row in around.journal.rows() if row.kind == "basis")
    kept = set(state.delta.active.basis.slots)
    if focus < 1:
        assert kept == set(chosen(basis.stats["sensitivity"], focus)) and len(kept) < len(base.layers)
        assert "sensitivity" in (basis.reason or "")
    else:
        assert kept == set(base.layers) and "sensitivity" not in basis.stats
    assert [row.kind for row in around.journal.rows()].count("basis") == 1
    resumed = resume(around.journal, base.device)
    assert resumed.protection == state.protection and dict(resumed.solved) == dict(state.solved)
    assert ledger.verify(around.journal)["mismatches"] == 0
