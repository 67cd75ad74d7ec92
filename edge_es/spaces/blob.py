"""Reads stored bases and deltas back, whatever their search space (`delta.pack` writes them)."""

import json
from collections.abc import Mapping
from typing import Any

import torch

from edge_es.errors import StateError
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.basis import Basis
from edge_es.spaces.delta import Delta, Part
from edge_es.spaces.full import Entries
from edge_es.spaces.scales import Scales


def unpack(blob: bytes) -> Delta:
    """The inverse of `delta.pack`, on the CPU. Raises StateError if the bytes are no such blob."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        parts = []
        for index, layout in enumerate(json.loads(header["__metadata__"]["outs"])):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            b = own.pop("b", None)
            parts.append(Part(_basis(layout, own), b))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StateError(f"a stored blob is no delta ({error}); roll back to a version before it") from None
    return Delta(tuple(parts))


def _basis(layout: Any, tensors: Mapping[str, torch.Tensor]) -> Basis:
    if isinstance(layout, list):  # an adapter's names no kind
        return InputSide.restored([(name, int(out)) for name, out in layout], tensors)
    if layout["kind"] == Scales.kind:
        return Scales.restored(layout, tensors)
    if layout["kind"] == Entries.kind:
        return Entries.restored(layout, tensors)
    raise ValueError(f"search space '{layout['kind']}' is unknown here")
