"""Members and versions as side channels of the forward pass: hooks on the adapted linears add each row's own term.

Nothing is written into the base and nothing has to be taken back: outside `using`, the model is the anchor. One pass
over the base serves every row, whichever version or member the row belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from edge_es.spaces.basis import MemberRows
from edge_es.spaces.delta import Delta
from edge_es.strategy import Population


@dataclass(frozen=True)
class Member:
    """One perturbed candidate: a delta plus sign * sigma * noise(pair)."""

    delta: Delta
    population: Population
    pair: int
    sign: int  # +1 or -1


Weights = Delta | Member  # what one row of a batch is answered with


class PopulationRows:
    """Rows laid out pair by pair, plus then minus, equally many rows each, over one delta: the scoring batch."""

    def __init__(self, delta: Delta, population: Population, pairs: range) -> None:
        self.delta, self.population, self.pairs = delta, population, pairs

    def add(self, name: str, linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        """out += (delta + member's perturbation) x. x (rows, seq, in), out (rows, seq, features), in place."""
        basis = self.population.basis
        if name in basis.slots:
            merged = self.delta.merged.get(name)
            basis.add_pairs(self.population, self.pairs, name, merged, linear, x, out)
        else:
            self.delta.add(name, linear, x, out)


class MixedRows:
    """Any weights in any row: the decoding batch. Rows of one delta are added together, and so are the terms of one
    population's members."""

    def __init__(self, weights: Sequence[Weights], device: torch.device) -> None:
        deltas: dict[int, tuple[Delta, list[int]]] = {}
        members: dict[int, list[tuple[int, Member]]] = {}
        for row, weight in enumerate(weights):
            delta = weight.delta if isinstance(weight, Member) else weight
            deltas.setdefault(id(delta), (delta, []))[1].append(row)
            if isinstance(weight, Member):
                members.setdefault(id(weight.population), []).append((row, weight))
        self.groups = [
            (delta, None if len(rows) == len(weights) else torch.tensor(rows, device=device))
            for delta, rows in deltas.values()
            if delta.parts
        ]
        self.members = [
            (
                some[0][1].population,
                MemberRows(
                    rows=torch.tensor([row for row, _ in some], device=device),
                    pair=torch.tensor([m.pair for _, m in some], device=device),
                    sign=torch.tensor([float(m.sign) for _, m in some], device=device),
                    whole=len(some) == len(weights),
                    made={},
                ),
            )
            for some in members.values()
        ]
        # The one version that all rows are members around, if there is one: its term and theirs are one.
        alone = len(self.groups) == 1 and len(self.members) == 1 and self.members[0][1].whole
        self.around = self.groups[0][0] if alone and self.groups[0][1] is None else None

    def add(self, name: str, linear: Any, x: torch.Tensor, out: torch.Tensor) -> None:
        around = self.around if self.around is not None and name in self.members[0][0].basis.slots else None
        for delta, rows in self.groups:
            if around is not None:
                break  # with its members, below
            if rows is None:
                delta.add(name, linear, x, out)
            elif name in delta.merged:
                some = out[rows]
                delta.add(name, linear, x[rows], some)
                out[rows] = some
        for population, members in self.members:
            if name in population.basis.slots:
                merged = around.merged.get(name) if around is not None else None
                population.basis.add_members(population, members, name, merged, linear, x, out)


Rows = PopulationRows | MixedRows


class SideChannel:
    """The hooks on one model's linears, and what they add at the moment."""

    def __init__(self, model: Any, layers: Sequence[str]) -> None:
        self._rows: Rows | None = None
        self._watch: Callable[[str, torch.Tensor], None] | None = None
        for name in layers:
            model.get_submodule(name).register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[Any, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def hook(module: Any, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
            if self._watch is not None:
                self._watch(name, args[0])
            if self._rows is not None:
                self._rows.add(name, module, args[0], out)

        return hook

    @contextmanager
    def using(self, rows: Rows) -> Iterator[None]:
        """Forward passes inside are those of `rows`; the batch must have that layout."""
        self._rows = rows
        try:
            yield
        finally:
            self._rows = None

    @contextmanager
    def watching(self, visit: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
        """`visit(layer, inputs (rows, seq, in))` is called for every adapted linear that runs inside."""
        self._watch = visit
        try:
            yield
        finally:
            self._watch = None
