"""What published codes do (es-at-scale and the code of arXiv 2601.20861): perturb the weights, evaluate, restore.

Every linear weight of an unquantized copy gets dense normal noise of its own, is evaluated, and has the same noise
taken off again; the update adds all members' noise once more. Noise is drawn three times a member and never stored.
Member after member: one pass over the weights serves one member's items.
"""

import random
from collections.abc import Callable, Iterator

import torch

from edge_es.model import Base
from edge_es.strategy import zscore

SIGMA, ALPHA = 1e-3, 5e-4  # the paper's

Draw = Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]  # member -> (weight, noise like it), all layers


def dense(base: Base, seed: int) -> Draw:
    """Normal noise for every linear weight, from one stream a member: no two tensors share it."""
    generator = torch.Generator(base.device)

    def draw(member: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator.manual_seed(random.Random(f"{seed}/{member}").getrandbits(63))
        for name in base.layers:
            weight = base.model.get_submodule(name).weight
            yield weight, torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)

    return draw


@torch.no_grad()
def evaluate(members: int, sigma: float, draw: Draw, work: Callable[[], float]) -> list[float]:
    """`work()` under each member in turn: its fitness. The weights are back within rounding afterwards."""
    fitness = []
    for member in range(members):
        for weight, noise in draw(member):
            weight.add_(noise, alpha=sigma)
        fitness.append(work())
        for weight, noise in draw(member):
            weight.sub_(noise, alpha=sigma)
    return fitness


@torch.no_grad()
def update(fitness: list[float], alpha: float, draw: Draw) -> None:
    """weights += alpha / N * sum over members of shaped fitness * noise."""
    for member, shaped in enumerate(zscore(fitness)):
        for weight, noise in draw(member):
            weight.add_(noise, alpha=alpha / len(fitness) * shaped)


def copy_bytes(base: Base) -> int:
    """Bytes of the unquantized copy, with the largest noise tensor beside it."""
    element = torch.finfo(base.dtype).bits // 8
    linear = {name: base.model.get_submodule(name) for name in base.layers}
    sizes = [m.in_features * m.out_features for m in linear.values()]
    rest = {id(p): p.numel() for n, p in base.model.named_parameters() if n.rpartition(".")[0] not in linear}
    return element * (sum(sizes) + sum(rest.values()) + max(sizes))
