"""Bases of every quantization, deltas and texts for the contract suites."""

import os
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
import torch

from edge_es.config import ModelSection
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.model import Base, load_base
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part

QUANTIZATIONS = ("none", "nf4", "int8")
DEVICE = os.environ.get("EDGE_ES_TEST_DEVICE", "cpu")  # where the shared suites run; always in fp32, for tolerances
_loaded: dict[tuple[Path, str], Base] = {}


def load_tiny(folder: Path, quantization: str) -> Base:
    """The tiny model, loaded once a quantization: a base is read-only, so tests may share it."""
    key = (folder, quantization)
    if key not in _loaded:
        section = ModelSection(ref=str(folder), quantization=quantization, device=DEVICE)
        with mock.patch("edge_es.model.compute_dtype", return_value=torch.float32):
            _loaded[key] = load_base(section)
    return _loaded[key]


@pytest.fixture
def base(tiny_folder: Path) -> Base:
    return load_tiny(tiny_folder, "nf4")


@pytest.fixture(params=QUANTIZATIONS)
def any_base(request: pytest.FixtureRequest, tiny_folder: Path) -> Base:
    return load_tiny(tiny_folder, request.param)


def random_delta(base: Base, rank: int = 2, size: float = 0.05, seed: int = 0) -> Delta:
    """Orthonormal random input sides with a random output side."""
    g = torch.Generator().manual_seed(seed)
    a = {}
    for name in base.layers:
        wide = torch.randn(base.model.get_submodule(name).in_features, rank, generator=g)
        a[name] = torch.linalg.qr(wide)[0].T.contiguous()
    side = InputSide(a, base.outs(base.layers))
    return Delta((Part(side, torch.randn(side.size, generator=g) * size),)).to(base.device)


def demonstrations(count: int, answer: str = "yes") -> list[Event]:
    return [
        Event(f"event-{i}", "demonstration", (Exchange(Prompt.user(f"Say whether {i} is a number."), answer),))
        for i in range(count)
    ]


def texts(base: Base, events: Sequence[Event]) -> list[Text]:
    return [text_of(base, exchange) for event in events for exchange in event.exchanges]


def protected(base: Base) -> list[Text]:
    return [text_of(base, Exchange(Prompt.user(f"Name the letter {c}."), c)) for c in "abcdefghijklmnop"]
