"""One contract for every search space, masked or not: members, deltas, norms, blobs and replay (invariants 1, 2, 5)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_es import ledger, strategy
from edge_es.config import Config, GatesSection, GuardsSection, MaskSection, SearchSection
from edge_es.errors import ConfigError, StateError
from edge_es.learner import turn
from edge_es.ledger import MemoryJournal, anchor_row
from edge_es.likelihood import collate, score, score_batch
from edge_es.memory import OPEN
from edge_es.model import Base, base_hash
from edge_es.sidechannel import Member, MixedRows, PopulationRows
from edge_es.slices import run
from edge_es.spaces.blob import unpack
from edge_es.spaces.delta import Delta, Part, flat_step, pack
from edge_es.spaces.make import make_basis
from edge_es.state import Surroundings, resume
from tests.contract.conftest import demonstrations, load_tiny, protected, texts

PAIRS, ITEMS = 3, 4
MASKED = MaskSection(kind="magnitude", density=0.1)


@dataclass(frozen=True)
class Case:
    space: str
    quantization: str
    mask: MaskSection = field(default_factory=MaskSection)

    def config(self, **search: Any) -> Config:
        options = {"space": self.space, "population": 8, "sigma": 0.05, "alpha": 0.1, "rank": 2, **search}
        return Config(
            search=SearchSection(target_modules=["all-linear"], **options),
            guards=GuardsSection(mask=self.mask),
            gates=GatesSection(canary_kl=None, min_reliability=-1),
        )


CASES = {
    "adapter": Case("adapter", "nf4"),
    "adapter, masked": Case("adapter", "nf4", MASKED),
    "adapter, random mask": Case("adapter", "none", MaskSection(kind="random", density=0.25)),
    "scales of nf4": Case("scales", "nf4"),
    "scales of nf4, masked": Case("scales", "nf4", MaskSection(kind="activation", density=0.1)),
    "scales of int8": Case("scales", "int8"),
    "full": Case("full", "none"),
    "full, masked": Case("full", "none", MaskSection(kind="activation", density=0.01)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def any_space(case: Case, tiny_folder: Path) -> Base:
    return load_tiny(tiny_folder, case.quantization)


def a_delta(base: Base, case: Case, parts: int = 1, size: float = 0.05) -> Delta:
    delta, g = Delta(), torch.Generator().manual_seed(7)
    for _ in range(parts):
        some = texts(base, demonstrations(ITEMS))
        basis = run(make_basis(base, delta, case.config(), some, protected(base), OPEN)).basis
        delta = Delta((*delta.parts, Part(basis, torch.randn(basis.size, generator=g) * size)))
    return delta


def change(base: Base, add: Callable[[str, Any, torch.Tensor, torch.Tensor], None], name: str) -> torch.Tensor:
    """The change of one linear's weight, (out, in), as the forward pass has it."""
    linear = base.model.get_submodule(name)
    x = torch.eye(linear.in_features)[None]
    out = torch.zeros(1, linear.in_features, linear.out_features)
    add(name, linear, x, out)
    return out[0].T


def explicit(delta: Delta, population: strategy.Population, pair: int, sign: int) -> Delta:
    """The member as a delta of its own."""
    weights = [0.0] * population.pairs
    weights[pair] = sign * population.sigma
    active = delta.active
    assert active.b is not None
    moved = flat_step(active.basis, population.seed, population.step, weights, "cpu")
    return Delta((*delta.parts[:-1], Part(active.basis, active.b + moved)))


@pytest.mark.parametrize("parts", [1, 2])
def test_each_row_is_its_own_member(any_space: Base, case: Case, parts: int) -> None:
    base = any_space
    delta = a_delta(base, case, parts)
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.1)
    some = texts(base, demonstrations(ITEMS))
    batch = collate(base, some)
    together = score_batch(base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS).total
    members = [Member(delta, population, p, s) for p in range(PAIRS) for s in (1, -1) for _ in range(ITEMS)]
    mixed = score_batch(base, batch, MixedRows(members, base.device), 2 * PAIRS).total
    alone = torch.cat(
        [run(score(base, explicit(delta, population, p, s), some)).total for p in range(PAIRS) for s in (1, -1)]
    )
    loose = 0.05 if base.quantization == "int8" else 2e-3  # int8 rounds the inputs of a batch by its largest
    assert together.view(2 * PAIRS, ITEMS).std(0).min() > 1e-3  # members differ
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=loose)
    torch.testing.assert_close(mixed, alone, rtol=1e-3, atol=loose)
    company: list[Any] = [Delta(), members[0], delta, members[-1]]
    by_itself = [Delta(), explicit(delta, population, 0, 1), delta, explicit(delta, population, PAIRS - 1, -1)]
    in_company = score_batch(base, batch, MixedRows(company, base.device)).total
    apart = torch.cat([run(score(base, d, [t])).total for d, t in zip(by_itself, some, strict=True)])
    torch.testing.assert_close(in_company, apart, rtol=1e-3, atol=loose)
    assert base_hash(base) == base.sha256


def test_the_norms_are_those_of_the_weights_change(any_space: Base, case: Case) -> None:
    delta = a_delta(any_space, case, parts=2)
    whole = torch.cat([change(any_space, delta.add, name).flatten() for name in delta.merged])
    assert delta.norm() == pytest.approx(float(whole.norm()), rel=1e-4)
    one = Delta(delta.parts[:1])
    active = one.active
    assert active.b is not None
    assert active.basis.length(active.b) == pytest.approx(one.norm(), rel=1e-4)


def test_a_mask_costs_what_it_keeps(any_space: Base, case: Case) -> None:
    delta = a_delta(any_space, case)
    basis = delta.active.basis
    unmasked = Case(case.space, case.quantization)
    full = a_delta(any_space, unmasked)
    share = basis.size / full.active.basis.size
    assert share == pytest.approx(case.mask.density, rel=0.1)
    assert delta.sparsity() == pytest.approx(1 - case.mask.density, abs=0.02)
    if case.mask.kind != "none" and case.space == "full":
        assert len(pack(delta)) < 0.2 * len(pack(full))  # an index beside each number
    again = a_delta(any_space, case)
    assert again.sha256 == delta.sha256


def test_what_is_kept_is_the_largest(tiny_folder: Path) -> None:
    base = load_tiny(tiny_folder, "none")
    case = CASES["full, masked"]
    magnitude = Case("full", "none", MaskSection(kind="magnitude", density=0.01))
    chosen = [a_delta(base, c) for c in (case, magnitude)]
    name = base.layers[0]
    weight = base.model.get_submodule(name).weight.abs().flatten()
    least = weight.sort(descending=True).values[round(0.01 * len(weight)) - 1]
    places = chosen[1].active.basis.tensors()[f"kept.{name}"]
    assert bool((weight[places] >= least).all())
    assert not torch.equal(places, chosen[0].active.basis.tensors()[f"kept.{name}"])  # inputs weigh, too
    moved = change(base, chosen[1].add, name).flatten()
    assert set(moved.nonzero().flatten().tolist()) <= set(places.tolist())


def test_blobs_bring_back_the_same(any_space: Base, case: Case) -> None:
    delta = a_delta(any_space, case, parts=2)
    again = unpack(pack(delta))
    assert again.sha256 == delta.sha256 and again.norm() == delta.norm()
    alone = unpack(pack(Delta((Part(delta.active.basis, None),)))).parts[0].basis
    assert alone.sha256 == delta.active.basis.sha256 and alone.slots == delta.active.basis.slots
    with pytest.raises(StateError, match="no delta"):
        unpack(pack(delta)[:-8])


def test_learns_and_replays_bit_for_bit(any_space: Base, case: Case) -> None:
    base = any_space
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    around = Surroundings(base, case.config(), journal, protected(base), {})
    state, events = resume(journal, base.device), demonstrations(6)
    for _ in range(4):
        state = run(turn(state, events, False, around))
    assert [row.kind for row in journal.rows()] == ["anchor", "basis", "step", "step", "step", "step"]
    assert state.delta.norm() > 0
    assert ledger.verify(journal) == {"versions": 6, "replayed": 6, "mismatches": 0, "compacted": 0, "since": 0}
    resumed = resume(journal, base.device)
    assert resumed.delta.sha256 == state.delta.sha256 and resumed.protection == state.protection
    assert base_hash(base) == base.sha256


def test_an_antithetic_pair_is_one_change_and_its_opposite(any_space: Base, case: Case) -> None:
    base = any_space
    delta = a_delta(base, case)
    population = strategy.ask(delta, seed=3, step=7, size=2, sigma=0.1)
    basis = delta.active.basis
    for name in base.layers[:3]:
        linear = base.model.get_submodule(name)
        x = torch.eye(linear.in_features).repeat(2, 1, 1)
        out = torch.zeros(2, linear.in_features, linear.out_features)
        basis.add_pairs(population, range(1), name, None, linear, x, out)
        assert float(out[0].norm()) > 0
        torch.testing.assert_close(out[0], -out[1])


@pytest.mark.parametrize(("space", "quantization", "word"), [("full", "nf4", "none"), ("scales", "none", "nf4")])
def test_a_space_that_the_model_does_not_have(tiny_folder: Path, space: str, quantization: str, word: str) -> None:
    base = load_tiny(tiny_folder, quantization)
    with pytest.raises(ConfigError, match=rf"search\.space.*'{word}'"):
        a_delta(base, Case(space, quantization))


def test_one_state_is_of_one_space(tiny_folder: Path) -> None:
    base = load_tiny(tiny_folder, "nf4")
    delta = a_delta(base, CASES["adapter"])
    other = a_delta(base, CASES["scales of nf4"]).active.basis
    with pytest.raises(StateError, match=r"'adapter', not 'scales'.*state folder"):
        delta.with_basis(other)
