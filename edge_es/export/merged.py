"""The whole model with the delta added to its weights, as transformers saves one: bf16 safetensors, config, tokenizer.

Quantized weights are dequantized, the change is added in fp32, and the sum is rounded once. That rounding is the only
difference to what is served; the file is as large as the unquantized model. Written shard by shard, so that no more
than one of them is in memory beside the base.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

from edge_es.export.folder import NOTE, Origin, Written, placed, save_tensors, write_json, written
from edge_es.model import Base
from edge_es.spaces.delta import Delta
from edge_es.spaces.weights import weight_of

SHARD_BYTES = 2 * 2**30


def export_merged(base: Base, delta: Delta, target: Path, origin: Origin, shard_bytes: int = SHARD_BYTES) -> Written:
    """Writes `target`, a model folder that transformers loads; any search space. delta: on the CPU. shard_bytes: most
    of one file, but for a tensor that is larger by itself. Raises StateError where `target` is taken, OSError where the
    disk refuses."""
    with placed(target) as partial:
        _save(base, delta, partial, shard_bytes)
        config = copy.deepcopy(base.model.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.dtype = torch.bfloat16
        config.save_pretrained(partial)
        if base.model.generation_config is not None:
            base.model.generation_config.save_pretrained(partial)
        base.tokenizer.save_pretrained(partial)
        write_json(partial / NOTE, origin.note("merged"))
    return written("merged", target)


def changed(base: Base, delta: Delta, name: str) -> torch.Tensor:
    """The weight of one linear with the delta's change added, (out, in) fp32 on the CPU."""
    linear, delta = base.model.get_submodule(name), delta.to("cpu")
    weight = weight_of(linear, base.dtype).cpu().float()
    if name not in delta.merged:
        return weight
    if delta.active.basis.kind == "adapter":
        a, b = delta.merged[name]
        return weight + b.T @ a  # (out, R) @ (R, in)
    # What it does to the unit vectors of its inputs, so that no other search space needs to be known here.
    change = torch.zeros(1, linear.in_features, linear.out_features)
    delta.add(name, SimpleNamespace(weight=weight), torch.eye(linear.in_features)[None], change)
    return weight + change[0].T


def _state(base: Base, delta: Delta) -> Iterator[tuple[str, torch.Tensor]]:
    """name -> tensor of the plain model, bf16 where it is a float; one that several names share comes once."""
    linears = set(base.layers)
    for key, held in base.model.named_parameters():
        module, _, leaf = key.rpartition(".")
        if module in linears and leaf == "weight":
            yield key, changed(base, delta, module).to(torch.bfloat16).contiguous()
        else:
            yield key, _plain(held)
    for place, module in base.model.named_modules():
        for name, held in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield f"{place}.{name}".removeprefix("."), _plain(held)


def _plain(held: torch.Tensor) -> torch.Tensor:
    tensor = held.detach().cpu()
    return (tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor).contiguous().clone()


def _save(base: Base, delta: Delta, folder: Path, shard_bytes: int) -> None:
    shards: list[dict[str, str]] = []  # tensor -> file, filled in when the number of files is known
    waiting: dict[str, torch.Tensor] = {}
    size = total = 0
    with torch.no_grad():
        for name, tensor in _state(base, delta):
            own = tensor.numel() * tensor.element_size()
            if waiting and size + own > shard_bytes:
                shards.append(_shard(folder, len(shards), waiting))
                waiting, size = {}, 0
            waiting[name] = tensor
            size, total = size + own, total + own
    shards.append(_shard(folder, len(shards), waiting))
    if len(shards) == 1:
        (folder / _file(0)).rename(folder / "model.safetensors")
        return
    places = {name: file for shard in shards for name, file in shard.items()}
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def _shard(folder: Path, index: int, tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    save_tensors(tensors, folder / _file(index))
    return dict.fromkeys(tensors, _file(index))


def _file(index: int) -> str:
    return f"model-{index + 1:05d}.safetensors"
