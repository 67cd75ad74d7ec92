"""A delta as a PEFT LoRA adapter, in the narrow profile that peft, vLLM and llama.cpp's converter all read.

Plain LoRA: one rank and one alpha for all modules, no bias, no patterns, no DoRA, alpha = rank so that the scale is 1.
The parts of a delta stand below each other in one pair of matrices a linear (A of all parts, B of all parts), which
is their exact sum; linears of smaller rank are padded with zeros to the one rank, and linears that did not move but
share their name with one that did are zeros, so that nothing is missing when it is loaded. fp32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge_es.errors import InputError, StateError
from edge_es.export.folder import NOTE, Origin, Written, placed, save_tensors, write_json, written
from edge_es.model import Base
from edge_es.spaces.consolidate import consolidate
from edge_es.spaces.delta import Delta

RANKS = (8, 16, 32, 64, 128, 256, 512)  # those that vLLM has kernels for; it takes up to 16 unless told otherwise
EVERYWHERE = 16
PORTABLE = frozenset(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))
PREFIX = "base_model.model."


def export_peft(
    base: Base, delta: Delta, target: Path, origin: Origin, rank: int | None = None, base_name: str | None = None
) -> Written:
    """Writes `target`/adapter_config.json and adapter_model.safetensors: tensors (rank, in) and (out, rank), fp32.

    rank: the one rank; None: the smallest of RANKS that holds the delta exactly. A smaller one keeps the best
    approximation of that rank in Frobenius norm, and says what was lost. base_name: what stands as the base's name in
    place of `origin.model`. Raises StateError where the delta is no sum of low-rank terms, or `target` is taken;
    InputError for a rank that is not in RANKS; OSError where the disk refuses.
    """
    if rank is not None and rank not in RANKS:
        raise InputError(f"rank {rank} is not one that adapters are read with; take one of {_listed()}", "rank")
    if delta.parts and delta.active.basis.kind != "adapter":
        raise StateError(
            f"the search space '{delta.active.basis.kind}' is no low-rank change, so that no PEFT adapter can hold it; "
            "export it as 'merged' or 'delta'"
        )
    notes: list[str] = []
    needed = max((a.shape[0] for a, _ in delta.merged.values()), default=0)
    if rank is None:
        rank = next((one for one in RANKS if one >= needed), None)
        if rank is None:
            raise StateError(f"the delta has rank {needed}, adapters have {RANKS[-1]} at most; name one by --rank")
    if needed > rank:
        delta, loss = consolidate(delta, rank)
        notes.append(f"rank {needed} cut to {rank}: {loss:.2%} of the delta's norm lost")
    if rank > EVERYWHERE:
        notes.append(f"rank {rank}: vLLM must be told --max-lora-rank {rank}")
    suffixes = sorted({name.rpartition(".")[2] for name in delta.merged} or {base.layers[0].rpartition(".")[2]})
    if foreign := [name for name in suffixes if name not in PORTABLE]:
        notes.append(f"peft reads it; vLLM and llama.cpp may not know the modules {', '.join(foreign)}")
    names = [name for name in base.layers if name.rpartition(".")[2] in suffixes]
    with placed(target) as partial:
        save_tensors(_tensors(base, delta, names, rank), partial / "adapter_model.safetensors")
        write_json(partial / "adapter_config.json", adapter_config(base, rank, suffixes, base_name))
        write_json(partial / NOTE, origin.note("peft", rank=rank, notes=notes))
    return written("peft", target, tuple(notes))


def adapter_config(base: Base, rank: int, suffixes: list[str], base_name: str | None = None) -> Mapping[str, Any]:
    """The content of adapter_config.json. The base's name is a hub id, or the last part of a local folder's path: a
    path of one machine says nothing on another."""
    local = base.ref.startswith(("/", ".", "~")) or Path(base.ref).is_dir()
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name or (Path(base.ref).name if local else base.ref),
        "revision": None if local or base_name else getattr(base.model.config, "_commit_hash", None),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": suffixes,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
    }


def _tensors(base: Base, delta: Delta, names: list[str], rank: int) -> dict[str, torch.Tensor]:
    found = {}
    for name in names:
        linear = base.model.get_submodule(name)
        a, b = torch.zeros(rank, linear.in_features), torch.zeros(linear.out_features, rank)
        if name in delta.merged:
            own_a, own_b = delta.merged[name]  # (R, in), (R, out)
            a[: len(own_a)], b[:, : len(own_b)] = own_a.cpu(), own_b.cpu().T
        found[f"{PREFIX}{name}.lora_A.weight"], found[f"{PREFIX}{name}.lora_B.weight"] = a, b
    return found


def _listed() -> str:
    return ", ".join(map(str, RANKS))
