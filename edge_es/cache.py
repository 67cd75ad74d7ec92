"""Keys and values of a batch's rows: stacked, padded on the left, taken apart. Knows no weights."""

from collections.abc import Sequence
from typing import Any

import torch

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]  # per layer, each (rows, heads, seq, head size)


def pad_left(tensor: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    """The tensor (of any shape) with zeros before it, so that `dim` has this length."""
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim)


def stacked(parts: Sequence[KeysValues]) -> KeysValues:
    """The rows of all parts below each other, shorter ones padded."""
    if len(parts) == 1:
        return parts[0]
    length = max(part[0][0].shape[2] for part in parts)
    return [
        (
            torch.cat([pad_left(part[layer][0], length, 2) for part in parts]),
            torch.cat([pad_left(part[layer][1], length, 2) for part in parts]),
        )
        for layer in range(len(parts[0]))
    ]


def chosen(cache: KeysValues, rows: torch.Tensor, first: int = 0) -> KeysValues:
    """These rows (indices, each as often as it is named), from column `first` on."""
    return [(k[rows, :, first:], v[rows, :, first:]) for k, v in cache]


def columns_of(cache: KeysValues, row: int, real: torch.Tensor) -> KeysValues:
    """A copy of one row without its padding. real: (seq,) bool."""
    return [(k[row : row + 1][:, :, real], v[row : row + 1][:, :, real]) for k, v in cache]


def beginning(cache: KeysValues, length: int) -> KeysValues:
    """The first columns."""
    return [(k[:, :, :length], v[:, :, :length]) for k, v in cache]


def growing(cache: KeysValues) -> Any:
    """A cache of transformers that a forward pass reads and adds to. It begins with these tensors themselves: its own
    `update` would copy all of them into a new one, every token."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    past = DynamicCache()
    for keys, values in cache:
        layer = DynamicLayer()
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        layer.keys, layer.values = keys, values
        past.layers.append(layer)
    return past


def size_of(cache: KeysValues) -> int:
    """Bytes."""
    return sum(t.numel() * t.element_size() for pair in cache for t in pair)
