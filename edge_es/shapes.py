"""`shape:NAME`: models with the real shapes of well-known ones and random weights, where no weights can be had.

For time and memory alone: a forward pass costs what the real model's costs. **Every number in them is random and every
answer is noise**, mostly of tokens that the byte-level tokenizer has no text for. Weights are a function of the
shape, the seed and the kind of device (torch's own normal generator), so that the base hashes the same at each load.

The model is built without memory, then filled and quantized linear by linear: the peak stays near the size of the
quantized model. Linears that a real load would quantize are, and embeddings and head are not, as in `load_base`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from edge_es.errors import ModelError

PREFIX = "shape:"
SEED = 0
STD = 0.02  # of every weight matrix, what Llama and Qwen were initialised with


@dataclass(frozen=True)
class Shape:
    """Sizes as the model's own config.json states them. published: parameters, by its model card's file sizes."""

    family: str  # the model type of transformers: llama, qwen2
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    rope_theta: float
    positions: int
    published: int


_LLAMA = {"family": "llama", "vocab": 128256, "rope_theta": 500000.0, "positions": 131072}
_QWEN = {"family": "qwen2", "head_dim": 128, "rope_theta": 1000000.0, "positions": 32768}


def _shape(
    common: dict[str, Any], sizes: tuple[int, int, int, int, int], tied: bool, published: int, **rest: Any
) -> Shape:
    hidden, intermediate, layers, heads, kv_heads = sizes
    return Shape(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        tied=tied,
        published=published,
        **{**common, **rest},
    )


SHAPES = {
    # Llama-3.2-1B, Llama-3.2-3B, Llama-3.1-8B
    "llama-1b": _shape(_LLAMA, (2048, 8192, 16, 32, 8), True, 1_235_814_400, head_dim=64),
    "llama-3b": _shape(_LLAMA, (3072, 8192, 28, 24, 8), True, 3_212_749_824, head_dim=128),
    "llama-8b": _shape(_LLAMA, (4096, 14336, 32, 32, 8), False, 8_030_261_248, head_dim=128),
    # Qwen2.5-1.5B, -3B, -7B, the instruct variants
    "qwen-1.5b": _shape(_QWEN, (1536, 8960, 28, 12, 2), True, 1_543_714_304, vocab=151936),
    "qwen-3b": _shape(_QWEN, (2048, 11008, 36, 16, 2), True, 3_085_938_688, vocab=151936),
    "qwen-7b": _shape(_QWEN, (3584, 18944, 28, 28, 4), False, 7_615_616_512, vocab=152064),
    # nobody's, for tests: loads in a moment
    "tiny": _shape(_LLAMA, (128, 256, 2, 4, 2), False, 377_472, head_dim=32, vocab=320, positions=512),
}


def is_shape(ref: str) -> bool:
    """Whether a model reference names a shape rather than weights."""
    return ref.startswith(PREFIX)


def named(ref: str) -> Shape:
    """The shape of 'shape:NAME'. Raises ModelError, which lists the known ones."""
    shape = SHAPES.get(ref.removeprefix(PREFIX))
    if shape is None:
        known = ", ".join(PREFIX + name for name in SHAPES)
        raise ModelError(f"model '{ref}' is no known shape; known are {known}")
    return shape


def empty(shape: Shape) -> Any:
    """The transformers model without memory: parameters on the meta device, buffers (of the rotary positions) real."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        shape.family,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=shape.positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=1e-5 if shape.family == "llama" else 1e-6,
    )
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    return model


def build(ref: str, quantization: Any, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(tokenizer, model) on `device`; `quantization` is a BitsAndBytesConfig or None. Raises ModelError.

    The tokenizer is the embedded model's: bytes, with a chat template; its 320 ids are the first of the vocabulary.
    Nothing is run, so that 4-bit weights can still be kept from being repacked (see `model.load_base`).
    """
    from transformers import AutoTokenizer, GenerationConfig

    from edge_es.pocket import MODEL_DIR

    shape = named(ref)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR, model_max_length=shape.positions)
    model = empty(shape)
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        own = dict(module.named_parameters(recurse=False))
        if not own or (module is head and shape.tied):
            continue
        values = {part: _value(f"{ref}/{name}.{part}", p.shape, device, dtype) for part, p in own.items()}
        if quantization is not None and isinstance(module, torch.nn.Linear) and module is not head:
            model.set_submodule(name, _quantized(module, values, quantization, device))
            continue
        for part, value in values.items():
            setattr(module, part, torch.nn.Parameter(value, requires_grad=False))
    for module in model.modules():
        for part, buffer in module.named_buffers(recurse=False):
            setattr(module, part, buffer.to(device))
    model.tie_weights()
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    if quantization is not None:  # what a load through transformers would have noted; peft goes by it
        model.config.quantization_config = quantization
        model.is_quantized = True
        model.is_loaded_in_4bit, model.is_loaded_in_8bit = quantization.load_in_4bit, quantization.load_in_8bit
    return tokenizer, model


def _value(name: str, size: torch.Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A parameter's content: normal for matrices, ones for the weights of norms, zeros for biases."""
    if name.endswith(".bias"):
        return torch.zeros(size, device=device, dtype=dtype)
    if len(size) == 1:
        return torch.ones(size, device=device, dtype=dtype)
    digest = hashlib.sha256(f"{SEED}/{name}".encode()).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.empty(size, device=device, dtype=dtype).normal_(0.0, STD, generator=generator)


def _quantized(
    linear: torch.nn.Linear, values: dict[str, torch.Tensor], quantization: Any, device: torch.device
) -> torch.nn.Module:
    """The bitsandbytes linear with these values; the full-precision weight is freed when it has been made."""
    import bitsandbytes as bnb

    size = (linear.in_features, linear.out_features, linear.bias is not None)
    weight = values.pop("weight")
    if quantization.load_in_8bit:
        threshold = quantization.llm_int8_threshold
        made = bnb.nn.Linear8bitLt(*size, has_fp16_weights=False, threshold=threshold, device="meta")
        # bitsandbytes quantizes on the way from the CPU, and only then.
        made.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False).to(device)
    else:
        options = {
            "compress_statistics": quantization.bnb_4bit_use_double_quant,
            "quant_type": quantization.bnb_4bit_quant_type,
        }
        made = bnb.nn.Linear4bit(*size, quantization.bnb_4bit_compute_dtype, **options, device="meta")
        made.weight = bnb.nn.Params4bit(weight, requires_grad=False, **options, module=made).to(device)
    if "bias" in values:
        made.bias = torch.nn.Parameter(values["bias"], requires_grad=False)
    result: torch.nn.Module = made
    return result
