"""The basis that a configuration asks for, made for a batch of feedback, or candidates to choose from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_es.config import Config
from edge_es.errors import ConfigError
from edge_es.likelihood import Text
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.basis import Basis
from edge_es.spaces.delta import Delta
from edge_es.spaces.full import Entries
from edge_es.spaces.input_side import find
from edge_es.spaces.masks import kept_units
from edge_es.spaces.scales import Scales, norms
from edge_es.spaces.weights import scale_blocks


@dataclass(frozen=True)
class Made:
    """A basis, or several to choose from, by name, and what was measured when input sides were found."""

    candidates: Mapping[str, Basis]
    novelty_share: float | None = None

    @property
    def basis(self) -> Basis:
        """The first of them, which is whole where there is nothing to choose by."""
        return next(iter(self.candidates.values()))


def make_basis(
    base: Base, delta: Delta, config: Config, feedback: Sequence[Text], protected: Sequence[Text], room: Plan
) -> Slices[Made]:
    """`feedback`: the batch it is made for; `protected` may be empty. Raises ConfigError for a space that this model
    does not have."""
    search, guards = config.search, config.guards
    layers = base.targets(search.target_modules)
    linears = {name: base.model.get_submodule(name) for name in layers}
    if search.space == "full" and base.quantization != "none":
        raise ConfigError(
            "configuration key search.space: 'full' moves single weights, which a quantized model does not have; set "
            "model.quantization to 'none', or take 'adapter' or 'scales'"
        )
    units = {name: linear.out_features for name, linear in linears.items()}
    if search.space == "scales":
        units = {name: scale_blocks(linear)[0] for name, linear in linears.items()}
    if search.space == "full":
        units = {name: linear.out_features * linear.in_features for name, linear in linears.items()}
    kept = yield from kept_units(base, delta, units, guards.mask, search.seed, feedback, room)
    if search.space == "full":
        shapes = {name: (linear.out_features, linear.in_features) for name, linear in linears.items()}
        return Made({search.space: Entries(shapes, kept, base.device)})
    if search.space == "scales":
        blocks = {name: scale_blocks(linear) for name, linear in linears.items()}
        lengths = {name: norms(linears[name], blocks[name][0], kept.get(name)) for name in layers}
        return Made({search.space: Scales(lengths, blocks, kept)})
    energy = guards.protect.energy
    found = yield from find(base, delta, layers, feedback, protected, search.rank, energy, room, search.tokens)
    return Made({key: replace(side, rows=kept) for key, side in found.sides.items()}, found.novelty_share)
