"""Planned memory against what small shapes really hold, and the files for cards against what makes them."""

import dataclasses
from pathlib import Path

import pytest
import torch

from edge_es.config import Config, ModelSection, load, parse_bytes
from edge_es.footprint import Shape as Row
from edge_es.footprint import bytes_of, fitting
from edge_es.footprint import cache_bytes as held_cache
from edge_es.model import Base, load_base
from edge_es.planned import cache_bytes, planned, row_bytes, weight_bytes
from edge_es.shapes import SHAPES
from service import cards

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def tiny() -> Base:
    return load_base(ModelSection(ref="shape:tiny", device="cpu"))


def test_weights_and_caches_are_what_is_held(tiny: Base) -> None:
    element = torch.finfo(tiny.dtype).bits // 8
    rotary = sum(b.numel() * b.element_size() for b in tiny.model.buffers())
    assert weight_bytes(SHAPES["tiny"], "nf4", element) == pytest.approx(tiny.weight_bytes - rotary, rel=0.02)
    assert cache_bytes(SHAPES["tiny"], 100, element) == held_cache(tiny, 100)
    assert planned(SHAPES["tiny"], Config(), 2**33).unpacked == tiny.unpacked_bytes // 2  # bf16 there, fp32 here


def test_a_row_is_of_the_size_that_is_measured(tiny: Base) -> None:
    element = torch.finfo(tiny.dtype).bits // 8
    shape = Row(256, 64)
    fitting(tiny, shape, 2**33, 64, least=64)
    measured = (bytes_of(tiny, shape, 64) - bytes_of(tiny, shape, 16)) / 48
    assert 0.5 < row_bytes(SHAPES["tiny"], 256, 64, element) / measured < 2.0


@pytest.mark.parametrize(("name", "expected"), [("llama-8b", 5.3), ("qwen-7b", 5.2), ("qwen-3b", 1.9)])
def test_known_sizes(name: str, expected: float) -> None:
    assert weight_bytes(SHAPES[name]) / 2**30 == pytest.approx(expected, abs=0.05)
    assert weight_bytes(SHAPES[name], "none") == pytest.approx(2 * SHAPES[name].published, rel=0.001)


def test_the_files_are_current_and_what_has_none_does_not_fit() -> None:
    for card, it in cards.CARDS.items():
        for model, one in cards.MODELS.items():
            plan = planned(SHAPES[one.shape], cards._config(it, one), it.gib * 2**30)
            assert plan.fits == ((card, model) not in cards.LEFT_OUT), (card, model)
            if not plan.fits:
                continue
            file = CONFIGS / f"{card}-{model}.toml"
            assert file.read_text() == cards.render(card, model), f"`python -m service.cards` writes {file.name}"
            config = load(file)
            assert plan.weights + plan.delta < parse_bytes(config.learn.memory_budget) < it.gib * 2**30
            assert planned(SHAPES[one.shape], config, it.gib * 2**30) == dataclasses.replace(plan)
            assert (config.model.ref, config.search.population % 2) == (one.hub, 0)


def test_every_purpose_changes_what_it_says() -> None:
    text = (CONFIGS / "8gb-qwen2.5-3b.toml").read_text()
    assert cards.purposed(text, "chat") == text
    assert "enabled = false" in cards.purposed(text, "serve") and "max_slowdown = 2.0" in cards.purposed(text, "teach")
