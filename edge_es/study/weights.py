"""The weights of an unquantized copy, moved in place by the arms that need it: as they are, and as they were."""

import math
from collections.abc import Iterator, Mapping

import torch

from edge_es.errors import InputError
from edge_es.model import Base
from edge_es.study.change import Moved


class Weights:
    """Every parameter of a base, tied ones once. Raises InputError for a quantized base: that one is read-only."""

    def __init__(self, base: Base) -> None:
        if base.quantization != "none":
            raise InputError(
                f"this arm moves weights in place; set model.quantization to none, not {base.quantization}"
            )
        self.now: dict[str, torch.Tensor] = {name: p.data for name, p in base.model.named_parameters()}
        self.anchor = self.copy()

    def copy(self) -> dict[str, torch.Tensor]:
        """name -> a clone of each weight."""
        return {name: weight.clone() for name, weight in self.now.items()}

    def restore(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Writes an earlier `copy` back."""
        for name, weight in self.now.items():
            weight.copy_(kept[name])

    def distance(self, other: Mapping[str, torch.Tensor]) -> float:
        """Frobenius norm of the difference."""
        return math.sqrt(sum(float((w - other[n]).double().square().sum()) for n, w in self.now.items()))

    def moved(self) -> Iterator[Moved]:
        for name, weight in self.now.items():
            before = self.anchor[name].float()
            yield Moved(name, before, weight.float() - before)
