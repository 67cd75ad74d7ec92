"""Spreading rows at the first perturbed layer, in every family of models for which it is done."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edge_es import strategy
from edge_es.config import ModelSection
from edge_es.likelihood import collate, score_batch
from edge_es.model import Base, load_base
from edge_es.pocket import MODEL_DIR
from edge_es.sidechannel import Member, MixedRows, PopulationRows
from edge_es.spaces.adapter import InputSide
from edge_es.spread import FAMILIES, first_layer
from tests.contract.conftest import demonstrations, random_delta, texts

PAIRS, ITEMS = 2, 5
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 320,
    "max_position_embeddings": 128,
}
OWN: dict[str, dict[str, Any]] = {  # what a family needs beside SIZES
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 16},
    "phi3": {"num_key_value_heads": 2, "pad_token_id": 0},
    "bloom": {"n_layer": 3, "n_head": 4},
}


def tiny(family: str, folder: Path) -> Base:
    """Random weights in the family's own code, with the embedded model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    grouped = {} if family in ("gpt_neox", "bloom") else {"num_key_value_heads": 2}
    config = AutoConfig.for_model(family, **{**SIZES, **grouped, **OWN.get(family, {})})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(folder)
    return load_base(ModelSection(ref=str(folder), quantization="none", device="cpu"))


def last_linear(base: Base) -> str:
    return [name for name in base.layers if ".2." in name][-1]


@pytest.mark.parametrize("common", [True, False], ids=["shared beginning", "whole rows"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_rows_that_are_spread_score_as_rows_that_are_not(family: str, common: bool, tmp_path: Path) -> None:
    base = tiny(family, tmp_path)
    name, whole = last_linear(base), random_delta(base)
    side = whole.active.basis
    assert isinstance(side, InputSide)
    delta = whole.with_basis(InputSide({name: side.a[name]}, {name: side.outs[name]}))
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.5)
    assert first_layer(base.model, delta.active.basis.slots) is not None
    batch = collate(base, texts(base, demonstrations(ITEMS)))
    if not common:
        batch = type(batch)(batch.ids, batch.columns, batch.targets, batch.answer)
    seen: list[int] = []
    with base.channel.watching(lambda _, x: seen.append(len(x))):
        once = score_batch(base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS).total
    assert min(seen) == (1 if common else ITEMS) and max(seen) == 2 * PAIRS * ITEMS
    members = [Member(delta, population, p, s) for p in range(PAIRS) for s in (1, -1) for _ in range(ITEMS)]
    plain = collate(base, texts(base, demonstrations(ITEMS)))
    plain = type(plain)(plain.ids, plain.columns, plain.targets, plain.answer)
    apart = score_batch(base, plain, MixedRows(members, base.device), 2 * PAIRS).total
    torch.testing.assert_close(once, apart, rtol=1e-3, atol=1e-3)


def test_another_family_is_read_whole(tmp_path: Path) -> None:
    base = tiny("bloom", tmp_path)
    assert base.model.config.model_type not in FAMILIES
    delta = random_delta(base)
    assert first_layer(base.model, [last_linear(base)]) is None
    population = strategy.ask(delta, seed=3, step=7, size=2 * PAIRS, sigma=0.1)
    batch = collate(base, texts(base, demonstrations(ITEMS)))
    assert len(score_batch(base, batch, PopulationRows(delta, population, range(PAIRS)), 2 * PAIRS).total) == 20
