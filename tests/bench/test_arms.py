"""Each arm does what its row says: the same rows, the same members, weights as they were."""

from collections.abc import Iterator

import pytest
import torch

from edge_es import noise, strategy
from edge_es.bench import backprop, calls, in_place, plain
from edge_es.bench.rows import Numbers, items
from edge_es.config import ModelSection, load
from edge_es.errors import InputError
from edge_es.likelihood import score_batch
from edge_es.model import Base, base_hash, load_base
from edge_es.sidechannel import PopulationRows
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta


def base_of(ref: str, quantization: str = "none") -> Base:
    return load_base(ModelSection(ref=ref, quantization=quantization, device="cpu"))


@pytest.fixture(scope="module")
def tiny() -> Base:
    return base_of("shape:tiny")


@pytest.fixture(scope="module")
def pocket() -> Base:
    return base_of("pocket", "nf4")


def subject(base: Base, count: int = 3, tokens: int | None = None) -> calls.Subject:
    reading, chosen = items(base, count, tokens, 0)
    return calls.subject(reading, load(None, {"search": {"population": 4}}), chosen)


def test_items_are_the_same_for_the_same_seed(tiny: Base, pocket: Base) -> None:
    for base in (tiny, pocket):
        assert items(base, 3, None, 0)[1] == items(base, 3, None, 0)[1] != items(base, 3, None, 1)[1]


def test_random_items_have_the_tokens_that_were_asked_for(tiny: Base, pocket: Base) -> None:
    for text in subject(tiny).texts:
        assert (len(text.prompt), len(text.answer)) == (48, 16)
        assert text.answer[-1] == tiny.end_ids[0]
        assert not set(text.prompt) & {tiny.pad_id, *tiny.end_ids}
    assert [len(text) for text in subject(pocket, tokens=20).texts] == [20] * 3
    assert Numbers()(Numbers().decode([3, 1])).input_ids == [3, 1]


def test_pocket_s_items_are_its_task(pocket: Base) -> None:
    assert all("Zorp" in event.exchanges[0].prompt.messages[0].content for event in subject(pocket).items.events)


def test_too_many_items_or_tokens_are_one_line(pocket: Base) -> None:
    for count, tokens in ((513, None), (2, 600)):
        with pytest.raises(InputError, match=r"^--(items 513|tokens 600): [^\n]+$"):
            items(pocket, count, tokens, 0)


@pytest.mark.parametrize("budget", [None, 1_000_000])
def test_plain_reads_the_rows_of_a_step(pocket: Base, budget: int | None) -> None:
    learn = {} if budget is None else {"learn": {"memory_budget": str(pocket.weight_bytes + budget)}}
    settings = load(None, {"search": {"population": 6}, **learn})
    reading, chosen = items(pocket, 4, None, 0)
    it = calls.subject(reading, settings, chosen)
    passes = calls.step(it, 1).passes
    assert (passes > 1) == (budget is not None)
    pieces = calls.pieces(it)
    assert len(pieces) == passes
    assert sum(piece.repeats * len(piece.batch.ids) for piece in pieces) == 24


def test_plain_scores_are_the_anchor_s_whichever_way_they_are_read(pocket: Base) -> None:
    it = subject(pocket)
    (piece,) = calls.pieces(it)
    assert piece.batch.shared > 0
    expected = score_batch(pocket, calls.without_beginning(piece.batch), None, piece.repeats).total
    for batch in (piece.batch, calls.without_beginning(piece.batch)):
        assert torch.allclose(plain.scores(pocket.model, batch, piece.repeats), expected, atol=2e-3)


def test_a_step_changes_nothing_and_no_two_are_alike(pocket: Base) -> None:
    it = subject(pocket)
    before = it.delta.sha256
    first, again, other = (calls.step(it, number) for number in (1, 1, 2))
    assert first.members == again.members != other.members
    assert (it.delta.sha256, base_hash(pocket)) == (before, pocket.sha256)


def test_rows_limit_the_batch(tiny: Base) -> None:
    assert calls.step(subject(tiny, count=4), 1, rows=4).passes == 4


def test_every_row_makes_all_its_tokens(tiny: Base) -> None:
    it = subject(tiny)
    assert calls.decode(it, None, 5) == calls.decode(it, 1, 5) == 4 * 3 * 5
    assert calls.decode(it, None, 5, only=1) == 15


def test_noise_in_place_is_a_new_one_for_every_member_and_layer(tiny: Base) -> None:
    draw = in_place.dense(tiny, 0)
    first, again, other = ([noise for _, noise in draw(member)] for member in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    same_size = [noise for noise in first if noise.shape == first[0].shape]
    assert len(same_size) > 1 and not torch.equal(same_size[0], same_size[1])
    assert float(first[0].std()) == pytest.approx(1.0, rel=0.05)


def test_in_place_without_noise_is_a_plain_pass_and_weights_come_back() -> None:
    base = base_of("shape:tiny")
    batch = calls.batch_of(subject(base))
    draw = in_place.dense(base, 0)
    before = {name: base.model.get_submodule(name).weight.clone() for name in base.layers}

    def score() -> float:
        return float(plain.scores(base.model, batch).sum())

    anchor = score()
    assert in_place.evaluate(2, 0.0, draw, score) == [anchor] * 2
    moved = in_place.evaluate(3, 0.01, draw, score)
    assert len({anchor, *moved}) == 4
    for name, weight in before.items():
        assert torch.allclose(base.model.get_submodule(name).weight, weight, atol=1e-6)
    in_place.update(moved, 0.01, draw)
    assert not torch.allclose(base.model.get_submodule(base.layers[0]).weight, before[base.layers[0]], atol=1e-6)


def test_in_place_and_the_side_channel_agree_on_the_same_perturbation() -> None:
    base = base_of("shape:tiny")
    it = subject(base)
    batch = calls.batch_of(it)
    population = strategy.ask(it.delta, 0, 1, 4, 0.5)
    side = population.basis
    assert isinstance(side, InputSide)

    def draw(member: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for name, a in side.a.items():
            pair = range(member // 2, member // 2 + 1)
            drawn = noise.noise(0, 1, pair, name, (side.outs[name], len(a)))[0]
            yield base.model.get_submodule(name).weight, (1 if member % 2 == 0 else -1) * drawn @ a

    written = in_place.evaluate(4, 0.5, draw, lambda: float(plain.scores(base.model, batch).sum()))
    rows = PopulationRows(Delta().with_basis(side), population, range(2))  # B = 0: around the anchor, as in place
    members = score_batch(base, batch, rows, 4).total.view(4, -1).sum(1).tolist()
    assert members == pytest.approx(written, abs=1e-2)
    assert max(members) - min(members) > 0.1


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_backprop_learns_and_leaves_the_base_as_it_was(quantization: str, checkpointing: bool) -> None:
    pytest.importorskip("peft")
    base = base_of("shape:tiny", quantization)
    it = subject(base)
    batch = calls.batch_of(it, [0, 1, 2, 0])
    plain.scores(base.model, batch)  # what a pass without gradients leaves behind must not be in the way
    names = [name for name, _ in base.model.named_modules()]
    with backprop.training(base, base.targets(["k_proj", "v_proj"]), checkpointing) as at:
        kept = [p for p in at.model.parameters() if p.requires_grad]
        assert len(kept) == 2 * 4  # an A and a B for each of two layers' k and v
        losses = [backprop.step(at, batch) for _ in range(8)]
        assert all(p.grad is not None for p in kept)
    assert losses[-1] < losses[0]
    assert [name for name, _ in base.model.named_modules()] == names
    assert base_hash(base) == base.sha256 and not any(p.requires_grad for p in base.model.parameters())
