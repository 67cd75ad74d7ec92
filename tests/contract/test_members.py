"""Members and versions are side channels: right in every layout, and without a trace (invariants 1 and 2)."""

from dataclasses import replace

import pytest
import torch

from edge_es import strategy
from edge_es.likelihood import answer_logits, collate, score, score_batch
from edge_es.model import Base, base_hash
from edge_es.sidechannel import Member, MixedRows, PopulationRows
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, flat_step
from tests.contract.conftest import demonstrations, random_delta, texts

PAIRS, ITEMS = 3, 4


def explicit(delta: Delta, population: strategy.Population, pair: int, sign: int) -> Delta:
    """The member as a delta of its own: B + sign * sigma * noise."""
    weights = [0.0] * population.pairs
    weights[pair] = sign * population.sigma
    active = delta.active
    assert active.b is not None
    moved = flat_step(population.basis, population.seed, population.step, weights, active.b.device)
    return Delta((*delta.parts[:-1], Part(active.basis, active.b + moved)))


@pytest.mark.parametrize("parts", [1, 2])
def test_each_row_is_its_own_member(base: Base, parts: int) -> None:
    delta = random_delta(base)
    if parts == 2:  # an earlier part is frozen beside the active one
        delta = Delta((*delta.parts, *random_delta(base, seed=1).parts))
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.1)
    batch = collate(base, texts(base, demonstrations(ITEMS)))
    together = score_batch(base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS).total
    members = [Member(delta, population, p, s) for p in range(PAIRS) for s in (1, -1) for _ in range(ITEMS)]
    mixed = score_batch(base, batch, MixedRows(members, base.device), 2 * PAIRS).total
    alone = torch.cat(
        [
            run(score(base, explicit(delta, population, p, s), texts(base, demonstrations(ITEMS)))).total
            for p in range(PAIRS)
            for s in (1, -1)
        ]
    )
    assert together.view(2 * PAIRS, ITEMS).std(0).min() > 1e-3  # members differ
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-3)


def test_a_common_beginning_is_read_once_a_member(any_base: Base) -> None:
    delta = random_delta(any_base)
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.1)
    batch = collate(any_base, texts(any_base, demonstrations(12)))  # answers and prompts of several lengths
    assert batch.shared >= 8 and int(batch.columns[0]) >= batch.shared
    rows = PopulationRows(delta, population, range(PAIRS))
    apart = score_batch(any_base, batch, rows, 2 * PAIRS)
    whole = score_batch(any_base, replace(batch, shared=0), rows, 2 * PAIRS)
    tolerance = 2e-2 if any_base.quantization == "int8" else 1e-3  # int8 rounds the inputs of a batch by its largest
    torch.testing.assert_close(apart.total, whole.total, rtol=1e-3, atol=tolerance)
    assert len(collate(any_base, texts(any_base, demonstrations(1))).ids) == 1


@pytest.mark.parametrize("common", [True, False])
def test_layers_before_the_first_perturbed_one_run_once_a_text(any_base: Base, common: bool) -> None:
    base, last = any_base, "model.layers.1.mlp.down_proj"
    delta = random_delta(base)  # the version itself reaches into every layer
    basis = delta.active.basis
    assert isinstance(basis, InputSide)
    only = InputSide({last: basis.a[last]}, {last: basis.outs[last]})
    delta = delta.with_basis(only)
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.5)
    batch = collate(base, texts(base, demonstrations(5)))
    batch = batch if common else replace(batch, shared=0)
    seen: dict[str, set[int]] = {}
    with base.channel.watching(lambda name, x: seen.setdefault(name, set()).add(len(x))):
        once = score_batch(base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS).total
    rows = {1, 5} if common else {5}
    assert seen["model.layers.0.self_attn.k_proj"] == rows
    assert seen[last] == {2 * PAIRS * n for n in rows}
    members = [Member(delta, population, p, s) for p in range(PAIRS) for s in (1, -1) for _ in range(5)]
    apart = score_batch(base, replace(batch, shared=0), MixedRows(members, base.device), 2 * PAIRS).total
    tolerance = 2e-2 if base.quantization == "int8" else 1e-3
    assert apart.view(2 * PAIRS, 5).std(0).min() > 1e-3
    torch.testing.assert_close(once, apart, rtol=1e-3, atol=tolerance)
    torch.testing.assert_close(
        score_batch(base, batch, None).total, score_batch(base, batch, None).total, rtol=0, atol=0
    )  # nothing is left of the hooks


def test_versions_and_members_share_a_batch(base: Base) -> None:
    one, two = random_delta(base, seed=1), random_delta(base, seed=2)
    population = strategy.ask(two, seed=3, step=7, size=4, sigma=0.1)
    some = texts(base, demonstrations(4))
    weights = [Delta(), one, Member(two, population, 1, -1), two]
    mixed = score_batch(base, collate(base, some), MixedRows(weights, base.device)).total
    deltas = [Delta(), one, explicit(two, population, 1, -1), two]
    alone = [float(run(score(base, delta, [text])).total) for delta, text in zip(deltas, some, strict=True)]
    torch.testing.assert_close(mixed, torch.tensor(alone), rtol=1e-4, atol=1e-3)


def test_nothing_is_left_behind(any_base: Base) -> None:
    batch = collate(any_base, texts(any_base, demonstrations(ITEMS)))
    before = answer_logits(any_base, batch, None)
    delta = random_delta(any_base)
    population = strategy.ask(delta, seed=0, step=1, size=2 * PAIRS, sigma=0.5)
    score_batch(any_base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS)
    torch.testing.assert_close(answer_logits(any_base, batch, None), before, rtol=0, atol=0)
    assert base_hash(any_base) == any_base.sha256


def test_a_failed_pass_leaves_the_anchor(base: Base) -> None:
    batch = collate(base, texts(base, demonstrations(ITEMS)))
    before = answer_logits(base, batch, None)
    population = strategy.ask(random_delta(base), seed=0, step=1, size=4, sigma=0.5)
    with pytest.raises(RuntimeError):  # three texts cannot be laid out as two pairs
        score_batch(
            base, collate(base, texts(base, demonstrations(3))), PopulationRows(Delta(), population, range(2)), 1
        )
    torch.testing.assert_close(answer_logits(base, batch, None), before, rtol=0, atol=0)


def test_evaluation_is_the_same_at_one_shape_and_close_at_others(base: Base) -> None:
    delta = random_delta(base)
    batch = collate(base, texts(base, demonstrations(ITEMS)))

    def totals(chunks: list[range]) -> torch.Tensor:
        population = strategy.ask(delta, seed=3, step=7, size=16, sigma=0.1)
        rows = [score_batch(base, batch, PopulationRows(delta, population, c), 2 * len(c)).total for c in chunks]
        return torch.cat(rows)

    whole = totals([range(8)])
    torch.testing.assert_close(totals([range(8)]), whole, rtol=0, atol=0)
    torch.testing.assert_close(totals([range(0, 2), range(2, 8)]), whole, rtol=1e-4, atol=1e-4)
