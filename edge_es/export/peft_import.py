"""A PEFT LoRA adapter as a delta: what learning goes on from. Plain LoRA only; the sum that it adds is kept exactly.

B A of each module is written with an orthonormal input side, as every input side here has one: A' = Q' from A' = Q T,
B' = scale * B T'. Ranks and alphas may differ by module (patterns), rsLoRA is a scale like another.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import regex
import torch

from edge_es.errors import InputError, StateError
from edge_es.export.folder import read_note
from edge_es.export.peft import PREFIX
from edge_es.model import Base
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part

# Those that change nothing of what a finished adapter adds, or that the tensors themselves tell.
NEUTRAL = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
PATTERN_SECONDS = 1.0
INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")  # others move the base's own weights as well
_KEY = re.compile(re.escape(PREFIX) + r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


def read_peft(base: Base, folder: Path, any_base: bool = False) -> Delta:
    """The delta of the adapter in `folder`, one part, on the CPU. any_base: whatever base it names.

    Raises InputError with one line for an adapter of another base or shape, or with an option that is not plain LoRA;
    StateError where the files are missing or broken.
    """
    config = _config(folder)
    _check(config, folder)
    if not any_base:
        _check_base(base, config, folder)
    sides: dict[str, torch.Tensor] = {}
    output: list[torch.Tensor] = []
    tensors = _pairs(base, folder)
    for name in (one for one in base.layers if one in tensors):
        a, b = _orthonormal(*tensors[name], _scale(config, name))
        if len(a):
            sides[name] = a
            output.append(b.flatten())
    if not sides:
        raise InputError(f"adapter {folder} changes nothing: all its tensors are zero; name one that was trained")
    return Delta((Part(InputSide(sides, base.outs(list(sides))), torch.cat(output)),))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(
            f"{folder} is no PEFT adapter: it has no adapter_config.json; name the folder that has"
        ) from None
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise StateError(f"{path} holds no JSON object")
    return found


def _check(config: Mapping[str, Any], folder: Path) -> None:
    def refuse(what: str) -> None:
        raise InputError(f"adapter {folder}: {what}; only plain LoRA can be imported")

    if config.get("peft_type") != "LORA":
        refuse(f"peft_type is {config.get('peft_type')!r}")
    if config.get("bias", "none") != "none":
        refuse(f"bias is {config['bias']!r}")
    if config.get("fan_in_fan_out"):
        refuse("fan_in_fan_out is set, which no linear here has")
    if config.get("init_lora_weights", True) not in INITIAL:
        refuse(f"init_lora_weights {config['init_lora_weights']!r} moved the base's weights; convert it to plain LoRA")
    for name, value in config.items():
        if name not in NEUTRAL and value:
            refuse(f"it uses {name}")


def _check_base(base: Base, config: Mapping[str, Any], folder: Path) -> None:
    note = read_note(folder)
    if note is not None and note.get("base_sha256") == base.sha256:
        return
    if note is not None and "base_sha256" in note:
        raise InputError(
            f"adapter {folder} was exported from {note.get('model')} ({note.get('quantization')}, other weights), this "
            f"is {base.ref} ({base.quantization}); give --any-base if it is meant for it all the same"
        )
    named = str(config.get("base_model_name_or_path") or "")
    if Path(named).name.lower() != Path(base.ref).name.lower():
        raise InputError(
            f"adapter {folder} is for base '{named}', this is '{base.ref}'; give --any-base if they are the same model"
        )


def _pairs(base: Base, folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """module -> (A (r, in), B (out, r)), float64. Raises InputError for what does not fit the base."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise StateError(f"{folder} has no adapter_model.safetensors; save the adapter with safe_serialization=True")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StateError(f"{path} cannot be read: {error}") from None
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise InputError(f"adapter {folder} has the tensor {key}, which is no part of a plain LoRA on a linear")
        if not torch.isfinite(tensor).all():
            raise InputError(f"adapter {folder}: {key} holds numbers that are not finite; name a sound one")
        sides.setdefault(match["module"], {})[match["side"]] = tensor.double()
    known = set(base.layers)
    for name, own in sides.items():
        if name not in known:
            raise InputError(f"adapter {folder} is for another model: {base.ref} has no linear {name}")
        linear = base.model.get_submodule(name)
        shapes = {side: tuple(tensor.shape) for side, tensor in own.items()}
        rank = shapes.get("A", (0,))[0]
        if shapes != {"A": (rank, linear.in_features), "B": (linear.out_features, rank)}:
            raise InputError(
                f"adapter {folder} is for another shape: {name} is {linear.out_features} x {linear.in_features} here, "
                f"and its lora_A and lora_B are {shapes.get('A')} and {shapes.get('B')}"
            )
    return {name: (own["A"], own["B"]) for name, own in sides.items()}


def _scale(config: Mapping[str, Any], name: str) -> float:
    rank = _by_pattern(config.get("rank_pattern"), name, config.get("r", 8))
    alpha = _by_pattern(config.get("alpha_pattern"), name, config.get("lora_alpha", 8))
    for key, value in (("r", rank), ("lora_alpha", alpha)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(f"the adapter's {key} of {name} is {value!r}; it must be a number over 0")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    """As peft looks one up: the first key that is the end of the name, as a regular expression."""
    for key, value in (patterns or {}).items():
        try:
            if regex.match(rf"(.*\.)?({key})$", name, timeout=PATTERN_SECONDS):
                return value
        except (regex.error, TimeoutError) as error:
            raise InputError(f"the adapter's pattern {key[:80]!r} cannot be used: {error}") from None
    return default


def _orthonormal(a: torch.Tensor, b: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(A (R, in), B (out, R)) fp32 with one product, A's rows orthonormal; what carries nothing is left out."""
    live = a.ne(0).any(1) & b.ne(0).any(0)
    q, t = torch.linalg.qr(a[live].T)  # a.T = q t; q (in, R)
    return q.T.float().contiguous(), (scale * b[:, live] @ t.T).float().contiguous()
