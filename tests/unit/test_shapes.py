"""Models of known shapes with random weights: the sizes are the real ones, and the rest of the library takes them."""

import pytest
import torch

from edge_es import shapes
from edge_es.answers import Row, Sampling
from edge_es.config import ModelSection, load
from edge_es.decode import generate
from edge_es.errors import ModelError
from edge_es.feedback import Prompt
from edge_es.meter import LiveBytes
from edge_es.model import Base, base_hash, encode_prompt, load_base
from edge_es.slices import run
from edge_es.spaces.adapter import Delta

CARDS = {  # billions of parameters, as the model cards state them
    "llama-1b": 1.24,
    "llama-3b": 3.21,
    "llama-8b": 8.03,
    "qwen-1.5b": 1.54,
    "qwen-3b": 3.09,
    "qwen-7b": 7.61,
}


def tiny(quantization: str) -> Base:
    return load_base(ModelSection(ref="shape:tiny", quantization=quantization, device="cpu"))


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_the_sizes_are_the_published_ones(name: str) -> None:
    model = shapes.empty(shapes.SHAPES[name])
    assert {p.device.type for p in model.parameters()} == {"meta"}  # no memory was taken
    count = sum(p.numel() for p in model.parameters())
    assert count == shapes.SHAPES[name].published
    if name in CARDS:
        assert count / 1e9 == pytest.approx(CARDS[name], rel=0.02)


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_it_loads_and_answers_under_every_quantization(quantization: str) -> None:
    base = tiny(quantization)
    kinds = {type(base.model.get_submodule(name)).__name__ for name in base.layers}
    assert kinds == {{"nf4": "Linear4bit", "int8": "Linear8bitLt", "none": "Linear"}[quantization]}
    assert type(base.model.get_output_embeddings()) is torch.nn.Linear
    assert len(base.layers) == 14 and base.context == 512
    prompt = encode_prompt(base, Prompt.user("hello"))
    answers = run(generate(base, [Row(prompt, Delta(), Sampling(max_tokens=4))] * 2))
    assert answers[0].tokens == answers[1].tokens and len(answers[0].tokens) >= 1
    assert base_hash(base) == base.sha256 == tiny(quantization).sha256  # the same at every load, and after a request


def test_loading_holds_little_more_than_the_quantized_model() -> None:
    quantized = tiny("nf4").weight_bytes
    with LiveBytes() as live:
        base = tiny("nf4")
    largest = max(base.model.get_submodule(name).out_features * 128 * 4 for name in base.layers)
    assert live.peak <= quantized + 2 * largest < tiny("none").weight_bytes


def test_weights_are_normal_and_no_two_layers_share_them() -> None:
    base = tiny("none")
    weights = [base.model.get_submodule(name).weight for name in base.layers if name.endswith("q_proj")]
    assert not torch.equal(weights[0], weights[1])
    assert float(weights[0].std()) == pytest.approx(shapes.STD, rel=0.05)
    assert float(base.model.model.norm.weight.mean()) == 1.0


def test_tied_embeddings_are_one_tensor() -> None:
    shape = shapes.Shape(**{**vars(shapes.SHAPES["tiny"]), "tied": True, "family": "qwen2"})
    shapes.SHAPES["tied"] = shape
    try:
        base = load_base(ModelSection(ref="shape:tied", quantization="nf4", device="cpu"))
    finally:
        del shapes.SHAPES["tied"]
    model = base.model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.get_submodule(base.layers[0]).bias.any()  # Qwen's q, k and v have one


def test_the_configuration_takes_a_shape() -> None:
    assert load(None, {"model": {"ref": "shape:llama-8b"}}).model.ref == "shape:llama-8b"


def test_an_unknown_shape_is_one_line_that_lists_the_known_ones() -> None:
    with pytest.raises(ModelError) as caught:
        load_base(ModelSection(ref="shape:llama-2b", device="cpu"))
    assert "shape:llama-2b" in str(caught.value) and "\n" not in str(caught.value)
    assert all(f"shape:{name}" in str(caught.value) for name in shapes.SHAPES)
