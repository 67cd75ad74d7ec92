"""Invariant 9: planned bytes are never fewer than a batch really holds, and finding them out stays in the room, too."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from edge_es import footprint
from edge_es.config import ModelSection
from edge_es.errors import StateError
from edge_es.footprint import Shape, bytes_of, fitting
from edge_es.likelihood import Batch, kl_batch, score_batch
from edge_es.memory import Plan
from edge_es.meter import LiveBytes
from edge_es.model import Base, Costs, load_base
from edge_es.sidechannel import PopulationRows
from edge_es.spaces.delta import Delta
from edge_es.strategy import ask
from tests.contract.conftest import random_delta

OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
LONG = 2**40  # tokens: no slice is too long
MANY = 10**6


@pytest.fixture(scope="module")
def pocket() -> Base:
    return load_base(ModelSection(ref="pocket", quantization="nf4", device="cpu"))


@pytest.fixture(params=["hidden", "seen"])
def at(request: pytest.FixtureRequest, pocket: Base) -> Iterator[Base]:
    """Nothing measured yet. seen: a weight is unpacked where the meter looks, as on a GPU with many rows."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "seen":
            unpacked(patch)
        yield replace(pocket, costs=Costs())


def unpacked(patch: pytest.MonkeyPatch) -> None:
    import bitsandbytes
    from bitsandbytes.functional import dequantize_4bit

    def forward(linear: Any, x: torch.Tensor) -> torch.Tensor:
        weight = dequantize_4bit(linear.weight.data, linear.weight.quant_state)
        return torch.nn.functional.linear(x, weight.to(x.dtype), linear.bias)

    patch.setattr(bitsandbytes.nn.Linear4bit, "forward", forward)


def batch_of(shape: Shape, rows: int) -> Batch:
    ids = torch.randint(0, 256, (rows, shape.seq), generator=torch.Generator().manual_seed(0))
    kept = torch.arange(shape.seq - shape.columns, shape.seq)
    return Batch(ids, kept, ids[:, kept], torch.ones_like(ids[:, kept], dtype=torch.bool))


def held(base: Base, shape: Shape, rows: int, delta: Delta | None = None) -> int:
    """What a batch really holds: of the anchor, or of so many members on one text."""
    work = kl_batch if shape.distributions > 1 else score_batch
    population = ask(delta, 0, 1, rows, 0.1) if delta is not None else None
    if delta is not None and population is not None:
        work(base, batch_of(shape, 1), PopulationRows(delta, population, range(population.pairs)), rows)  # draws noise
    with LiveBytes() as live:
        if delta is not None and population is not None:
            work(base, batch_of(shape, 1), PopulationRows(delta, population, range(population.pairs)), rows)
        else:
            work(base, batch_of(shape, rows), None)
    return live.peak


@pytest.mark.parametrize(("columns", "distributions"), [(1, 1), (48, 1), (24, 2)])
@pytest.mark.parametrize("room", [1_200_000, 9_000_000])
def test_no_batch_holds_more_than_was_planned(at: Base, columns: int, distributions: int, room: int) -> None:
    shape, delta = Shape(48, columns, distributions), random_delta(at)
    rows = fitting(at, shape, room, MANY)
    assert rows > 0 and held(at, shape, rows) <= room
    assert rows > 0.6 * room / (held(at, shape, rows + 1) / (rows + 1)) - 2  # and little room is given away
    if fitting(at, shape, room, MANY, least=2) > 1:
        pairs = Plan(room, LONG).rows(at, shape, MANY) // 2
        assert held(at, shape, 2 * pairs, delta) <= room
    for fewer in (1, 2, rows // 2, rows - 1):
        if 0 < fewer <= rows:
            assert held(at, shape, fewer) <= bytes_of(at, shape, fewer) <= room


@pytest.mark.parametrize("room", [100_000, 700_000, 20_000_000])
def test_measuring_stays_in_the_room(at: Base, room: int) -> None:
    """A single row is looked at whatever the room, and a pair where one row fits."""
    shape = Shape(64, 16)
    one = held(at, shape, 1)
    with LiveBytes() as live:
        rows = fitting(at, shape, room, MANY, least=2)
    assert live.peak <= max(room, 2 * one if room >= one else one)
    assert (rows > 0) == (room >= bytes_of(at, shape, 2))


def test_a_row_that_does_not_fit_is_said_at_once(pocket: Base) -> None:
    base = replace(pocket, costs=Costs())
    with (
        LiveBytes() as live,
        pytest.raises(StateError, match="leaves 100000 bytes for a batch, but one antithetic pair"),
    ):
        Plan(100_000, LONG).rows(base, Shape(64, 16), MANY)
    assert [rows for rows, _ in base.costs.measured[(64, 16, 1)]] == [1]
    assert live.peak <= base.costs.measured[(64, 16, 1)][0][1]


def test_nothing_is_measured_twice(pocket: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    base, room = replace(pocket, costs=Costs()), 20_000_000
    rows = fitting(base, Shape(64, 16), room, MANY)
    assert 1 < len(base.costs.measured[(64, 16, 1)]) <= 1 + footprint.MOST_MEASURED
    monkeypatch.setattr(footprint, "peak_bytes", None)  # a steady state has no use for it
    assert fitting(base, Shape(64, 16), room, MANY) == rows
    assert fitting(base, Shape(50, 3), room, MANY) == rows  # one measurement for shapes that round to the same
    for changed in range(int(0.5 * room), int(1.05 * room), room // 20):  # free memory is never quite the same
        assert 0 < fitting(base, Shape(64, 16), changed, MANY) <= 1.06 * rows


def test_where_there_is_plenty_a_single_row_is_measured(pocket: Base) -> None:
    base = replace(pocket, costs=Costs())
    assert fitting(base, Shape(64, 16), 2**34, 256) == 256
    assert [rows for rows, _ in base.costs.measured[(64, 16, 1)]] == [1]


@pytest.mark.parametrize("most", [0, 1, 2, 9])
def test_measuring_that_runs_out_of_memory_says_that_it_does_not_fit(
    pocket: Base, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    base = replace(pocket, costs=Costs())

    def lacking(base: Base, batch: Batch, rows: None) -> object:
        if len(batch.ids) > most:
            raise OUT
        return score_batch(base, batch, rows)

    monkeypatch.setattr(footprint, "score_batch", lacking)
    room = Plan(20_000_000, LONG)
    if most < 2:
        needs = "more than there is" if most == 0 else "[0-9]+"
        with pytest.raises(StateError, match=f"one antithetic pair of 64 tokens needs {needs}; raise"):
            room.rows(base, Shape(64, 16), MANY)
    else:
        assert 2 <= room.rows(base, Shape(64, 16), MANY) <= most * footprint.CLOSE
        assert base.costs.halved > 0
