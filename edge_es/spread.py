"""What all members have in common is computed once: rows are spread to members where the first perturbed layer begins.

Before that layer every member reads the same hidden states, so the batch runs there with one row a text, and from
there on with one row a member and text, member by member.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Families whose layers get rows as `spreading` knows them (tests compare each with passes that do not spread). Others
# hand on tensors in shapes of their own, as Bloom does its biases, and are read whole.
FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3", "gpt_neox"})


def first_layer(model: Any, names: Iterable[str]) -> tuple[str, int] | None:
    """(name of the list of decoder layers, index in it) of the earliest that has one of these linears; None where the
    names do not tell, where nothing runs before it, or where the model's family is none of FAMILIES."""
    if model.config.model_type not in FAMILIES:
        return None
    found: set[tuple[str, int]] = set()
    for name in names:
        path = name.split(".")
        index = next((i for i, part in enumerate(path) if part.isdigit()), None)
        if index is None:
            return None
        found.add((".".join(path[:index]), int(path[index])))
    lists = {of for of, _ in found}
    earliest = min((index for _, index in found), default=0)
    return (lists.pop(), earliest) if len(lists) == 1 and earliest > 0 else None


@contextmanager
def spreading(model: Any, at: tuple[str, int], rows: int, repeats: int) -> Iterator[None]:
    """Forward passes inside get `rows` rows; from layer `at` on, those stand `repeats` times."""

    def spread(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[0] == rows:
            return value.repeat(repeats, *[1] * (value.dim() - 1))
        return value

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # A mask is handed to every layer as the model made it, for the rows that came in; hidden states only once.
        changed = {name: spread(value) for name, value in kwargs.items() if name in ("hidden_states", "attention_mask")}
        return (spread(args[0]), *args[1:]) if args else args, {**kwargs, **changed}

    layers = list(model.get_submodule(at[0]))[at[1] :]
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
