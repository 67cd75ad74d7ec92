"""Loads a causal language model with its tokenizer and makes it read-only: the base.

Any Hugging Face causal LM by hub id or local folder, safetensors only, quantized through bitsandbytes (nf4 with
double quantization, or int8) or not at all; or a known one's shape with random weights (`shapes.py`).
`trust_remote_code` stays off.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from edge_es import shapes
from edge_es.config import ModelSection
from edge_es.errors import InputError, ModelError
from edge_es.feedback import Prompt
from edge_es.pace import Pace
from edge_es.sidechannel import SideChannel

CLEAN_BATCHES = 64  # population batches in a row that must fit before one halving is taken back


@dataclass
class Costs:
    """What was measured of this model on this device, and what was learned from batches that did not fit.

    measured: (tokens, columns, distributions) -> (rows, bytes at the peak), rising (`footprint.py`).
    halved: how often a batch ran out of memory, ever. halvings: of those in force; each halves the rows that are
    planned. clean: population batches that have fitted since the newest of them, or since one was taken back.
    reading, decoding: what a token costs where texts are read, and where answers grow by one token a row.
    """

    measured: dict[tuple[int, int, int], list[tuple[int, int]]] = field(default_factory=dict)
    halved: int = 0
    halvings: int = 0
    clean: int = 0
    reading: Pace = field(default_factory=Pace)
    decoding: Pace = field(default_factory=Pace)

    def halve(self) -> None:
        """A batch did not fit: the next ones have half the rows."""
        self.halved += 1
        self.halvings += 1
        self.clean = 0

    def fitted(self) -> None:
        """A population batch fitted. What took the memory may be gone: after enough of them, rows double again."""
        self.clean += 1
        if self.halvings and self.clean >= CLEAN_BATCHES:
            self.halvings -= 1
            self.clean = 0


@dataclass(frozen=True)
class Base:
    """The quantized pretrained model: read-only for the whole life of the process, byte for byte.

    model, tokenizer: of transformers. ref: the reference that it was loaded by. quantization: nf4, int8 or none.
    device, dtype: where and in what it computes; logits are (rows, seq, `vocabulary`). context: tokens that prompt and
    answer may have together. end_ids: tokens that end an answer; the first is the one that `encode_answer` appends.
    pad_id: the token that rows are filled up with. layers: names of the linears that a delta may move.
    channel: through which each row of a batch gets a delta of its own. sha256: of all bytes, as loaded (`base_hash`).
    costs: bytes that batches were measured to take here.
    """

    model: Any
    tokenizer: Any
    ref: str
    quantization: str
    device: torch.device
    dtype: torch.dtype
    context: int
    end_ids: tuple[int, ...]
    pad_id: int
    layers: tuple[str, ...]
    channel: SideChannel
    sha256: str
    costs: Costs = field(default_factory=Costs, compare=False)

    def outs(self, layers: Sequence[str]) -> dict[str, int]:
        """layer name -> output features."""
        return {name: self.model.get_submodule(name).out_features for name in layers}

    def targets(self, modules: Sequence[str]) -> tuple[str, ...]:
        """The linears whose names end in one of `modules`; all of them for 'all-linear', or where none does."""
        named = tuple(name for name in self.layers if f".{name}".endswith(tuple(f".{m}" for m in modules)))
        return self.layers if "all-linear" in modules or not named else named

    @cached_property
    def vocabulary(self) -> int:
        """How many tokens there are logits of; token ids are below it."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes that the weights occupy on the device."""
        return sum(t.numel() * t.element_size() for _, t in _tensors(self.model))

    @cached_property
    def unpacked_bytes(self) -> int:
        """Bytes of the largest linear's weight as a forward pass may unpack it; 0 where nothing is quantized."""
        if self.quantization == "none":
            return 0
        linears = [self.model.get_submodule(name) for name in self.layers]
        return max(one.in_features * one.out_features for one in linears) * torch.finfo(self.dtype).bits // 8


def choose_device(wanted: str) -> torch.device:
    """'auto' takes a GPU where there is one. Raises ModelError for a GPU that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("model.device is 'cuda' but no CUDA GPU is usable here; take 'cpu' or 'auto'")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Of forward passes. bf16 products are slow on most CPUs, and small models lose accuracy in them; GPUs gain."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_base(section: ModelSection) -> Base:
    """The base, on its device.

    section: `[model]` of a configuration; ref is a hub id, a local folder, 'pocket' or 'shape:NAME'. Raises ModelError
    with one line that names the reference, or the device that is not here, and the remedy.
    """
    from transformers.utils import logging as notices

    notices.disable_progress_bar()
    notices.set_verbosity_error()  # lengths are checked here, with a message that says what to do
    warnings.filterwarnings("ignore", message="`past_key_values` is deprecated")  # its new name is not in all releases

    device = choose_device(section.device)
    dtype = compute_dtype(device)
    quantization = _quantization(section.quantization, dtype)
    if shapes.is_shape(section.ref):
        tokenizer, model = shapes.build(section.ref, quantization, device, dtype)
    else:
        tokenizer, model = _pretrained(section, quantization, device, dtype)
    return _base(model, tokenizer, section.ref, section.quantization, dtype, section.context)


def base_of(model: Any, tokenizer: Any, context: int | None = None) -> Base:
    """The base of a causal language model of transformers that is loaded already, with its tokenizer; quantized by
    bitsandbytes or not. The model is made read-only and gets hooks on its linears, which do nothing outside of here.

    context: tokens; None: what the model states. Raises ModelError where it cannot be one.
    """
    in4, in8 = (getattr(model, f"is_loaded_in_{bits}bit", False) for bits in (4, 8))
    quantization = "nf4" if in4 else "int8" if in8 else "none"
    ref = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return _base(model, tokenizer, ref, quantization, model.dtype, context)


def _base(model: Any, tokenizer: Any, ref: str, quantization: str, dtype: torch.dtype, context: int | None) -> Base:
    model.eval().requires_grad_(False)
    _keep_read_only(model)
    head = model.get_output_embeddings()
    layers = tuple(n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head)
    if not layers:
        raise ModelError(f"model '{ref}' has no linear layers that a delta could move; take another one")
    stated = getattr(model.config, "max_position_embeddings", None) or 2048
    return Base(
        model=model,
        tokenizer=tokenizer,
        ref=ref,
        quantization=quantization,
        device=model.device,
        dtype=dtype,
        context=min(stated, context or stated),
        end_ids=_end_ids(model, tokenizer),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        layers=layers,
        channel=SideChannel(model, layers),
        sha256=base_hash_of(model),
    )


def _pretrained(section: ModelSection, quantization: Any, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """(tokenizer, model) from the hub or a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = _source(section.ref)
    options: dict[str, Any] = {"revision": section.revision} if section.revision else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            device_map={"": str(device)},
            quantization_config=quantization,
            **options,
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model '{section.ref}' cannot be loaded ({reason}); give a folder with config.json, *.safetensors and a "
            "tokenizer, or a hub id that this machine can reach or has cached"
        ) from None
    return tokenizer, model


def _source(ref: str) -> str:
    if ref == "pocket":
        from edge_es.pocket import MODEL_DIR

        return str(MODEL_DIR)
    folder = Path(ref).expanduser()
    if folder.exists() or ref.startswith(("/", ".", "~")):
        if not (folder / "config.json").is_file():
            raise ModelError(f"model '{ref}' is no model folder: it has no config.json; name the folder that has one")
        return str(folder)
    return ref


def _quantization(kind: str, dtype: torch.dtype) -> Any:
    if kind == "none":
        return None
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of an optional kernel hub at import
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        warnings.filterwarnings("ignore", message="MatMul8bitLt: inputs will be cast")  # once a call, on CPU
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _keep_read_only(model: Any) -> None:
    """Switches off bitsandbytes' in-place repacking of 4-bit weights on CPUs with AVX512-BF16 (upstream #2078)."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    stated = model.generation_config.eos_token_id
    ids = [stated] if isinstance(stated, int) else list(stated or [])
    own = tokenizer.eos_token_id
    if own is not None:
        ids = [own, *(i for i in ids if i != own)]
    if not ids:
        raise ModelError("the model states no end-of-text token; set eos_token_id in its generation_config.json")
    return tuple(ids)


def _tensors(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Every tensor of the base by name: parameters, buffers, and the scales of quantized weights."""
    found = [*model.named_parameters(), *model.named_buffers()]
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if state is not None:
            found += [(f"{name}.quant.{k}", v) for k, v in state.as_dict().items() if isinstance(v, torch.Tensor)]
        scales = getattr(weight, "SCB", None)
        if scales is None:
            scales = getattr(getattr(module, "state", None), "SCB", None)  # bitsandbytes moves it at the first forward
        if scales is not None:
            found.append((f"{name}.SCB", scales))
    return sorted(found, key=lambda item: item[0])


def base_hash_of(model: Any) -> str:
    """SHA-256 over the names, types and bytes of all tensors of the model."""
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)  # a view: no copy
    return digest.hexdigest()


def base_hash(base: Base) -> str:
    """The base's hash now; equal to `base.sha256`, whatever has happened since it was loaded."""
    return base_hash_of(base.model)


def encode_prompt(base: Base, prompt: Prompt, room: int = 1) -> tuple[int, ...]:
    """Token ids of a prompt, ready for the answer's first token.

    A chat goes through the model's chat template; a model without one gets the messages' texts, a line each. Raises
    InputError if there is nothing to answer, or fewer than `room` tokens of context are left for the answer.
    """
    if prompt.text is not None:
        ids = base.tokenizer(prompt.text).input_ids
        field = "prompt"
    elif base.tokenizer.chat_template:
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        ids = base.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        field = "messages"
    else:
        ids = base.tokenizer("\n".join(m.content for m in prompt.messages)).input_ids
        field = "messages"
    if not ids:
        raise InputError("the prompt has no tokens; write something to answer", field)
    if len(ids) + room > base.context:
        raise InputError(
            f"the prompt has {len(ids)} tokens and {room} must be left for the answer, but the context holds "
            f"{base.context}; shorten it",
            field,
        )
    return tuple(ids)


def encode_answer(base: Base, text: str, ended: bool = True) -> tuple[int, ...]:
    """Token ids of an answer, with the end-of-turn token if it `ended`. May be empty for an empty unended answer."""
    ids = base.tokenizer(text, add_special_tokens=False).input_ids
    return (*ids, base.end_ids[0]) if ended else tuple(ids)


def decode_text(base: Base, ids: Sequence[int]) -> str:
    """Text of token ids, without special tokens."""
    text: str = base.tokenizer.decode(list(ids), skip_special_tokens=True)
    return text
