"""Sparsity masks: which units of a linear may move (rows of B, scales, single weights), chosen when a basis is made.

random       by hash of the seed
magnitude    where the weights are largest
activation   where input RMS times weight is largest (Wanda, arXiv 2306.11695), the inputs being the feedback's
What a mask holds still costs nothing: no noise is drawn for it, and the delta has no room for it.
"""

from collections.abc import Mapping, Sequence

import torch

from edge_es import noise
from edge_es.config import MaskSection
from edge_es.likelihood import Text
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta
from edge_es.spaces.inputs import visit_inputs
from edge_es.spaces.weights import weight_of


def kept_units(
    base: Base,
    delta: Delta,
    units: Mapping[str, int],
    mask: MaskSection,
    seed: int,
    feedback: Sequence[Text],
    room: Plan,
) -> Slices[dict[str, torch.Tensor]]:
    """linear -> (kept,) int64, ascending, of its `units`, each of which is one run of the flattened weight; empty
    where there is no mask. At least one unit of each linear is kept."""
    if mask.kind == "none":
        return {}
    rms: dict[str, torch.Tensor] = {}
    if mask.kind == "activation":
        rms = yield from _input_rms(base, delta, list(units), feedback, room)
    kept = {}
    for name, number in units.items():
        if mask.kind == "random":
            places = noise.keep_rows(seed, name, number, mask.density).nonzero().flatten()
        else:
            weight = weight_of(base.model.get_submodule(name), torch.float32)
            if name in rms:
                weight = weight * rms[name]
            energy = weight.reshape(number, -1).square().sum(1)
            # Ties go to the lower index, so that the choice does not hang on how a device sorts.
            most = energy.argsort(descending=True, stable=True)[: max(1, round(mask.density * number))]
            places = most.sort().values
        kept[name] = places.to(base.device)
        yield
    return kept


def _input_rms(
    base: Base, delta: Delta, names: list[str], texts: Sequence[Text], room: Plan
) -> Slices[dict[str, torch.Tensor]]:
    """linear -> (in,) fp32, the root mean square of what each of its inputs carries."""
    sums: dict[str, torch.Tensor] = {}
    seen = dict.fromkeys(names, 0)

    def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0) + vectors.square().sum(0)
        seen[name] += len(vectors)

    yield from visit_inputs(base, delta, texts, names, visit, room)
    return {name: (total / max(1, seen[name])).sqrt() for name, total in sums.items()}
