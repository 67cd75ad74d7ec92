"""Members and versions as side channels of the forward pass: hooks on the adapted linears add each row's own term.

Nothing is written into the base and nothing has to be taken back: outside `using`, the model is the anchor. One pass
over the base serves every row, whichever version or member the row belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from edge_es import noise
from edge_es.spaces.adapter import Delta
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

    def add(self, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
        """out += (B + member's perturbation) A x. x (rows, seq, in), out (rows, seq, features), in place."""
        _add_delta(self.delta, name, x, out)
        a = self.population.side.a.get(name)
        if a is None:
            return
        eps = _perturbation(self.population, self.pairs, name, x)  # (pairs, rank, features)
        z = x @ a.to(x.dtype).T  # (rows, seq, rank)
        z = z.reshape(len(self.pairs), 2, -1, a.shape[0])
        z[:, 1].neg_()  # an antithetic pair reads one noise tensor; the sign rides on z, the smaller side
        out.view(len(self.pairs), -1, out.shape[-1]).baddbmm_(z.flatten(1, 2), eps)


class MixedRows:
    """Any weights in any row: the decoding batch. Rows of one delta are added together; members' terms row by row."""

    def __init__(self, weights: Sequence[Weights], device: torch.device) -> None:
        deltas: dict[int, tuple[Delta, list[int]]] = {}
        members: list[tuple[int, Member]] = []
        for row, weight in enumerate(weights):
            delta = weight.delta if isinstance(weight, Member) else weight
            deltas.setdefault(id(delta), (delta, []))[1].append(row)
            if isinstance(weight, Member):
                members.append((row, weight))
        self.groups = [
            (delta, None if len(rows) == len(weights) else torch.tensor(rows, device=device))
            for delta, rows in deltas.values()
            if delta.parts
        ]
        self.population = members[0][1].population if members else None
        if members:
            assert all(m.population is self.population for _, m in members), "one population in a batch"
            self.member_rows = torch.tensor([row for row, _ in members], device=device)
            self.pair_of = torch.tensor([m.pair for _, m in members], device=device)
            self.signs = torch.tensor([m.sign for _, m in members], device=device)

    def add(self, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
        for delta, rows in self.groups:
            if rows is None:
                _add_delta(delta, name, x, out)
            else:
                some = out[rows]
                _add_delta(delta, name, x[rows], some)
                out[rows] = some
        if self.population is not None and name in self.population.side.a:
            a = self.population.side.a[name].to(x.dtype)
            eps = _perturbation(self.population, range(self.population.pairs), name, x)[self.pair_of]
            z = x[self.member_rows] @ a.T * self.signs.to(x.dtype)[:, None, None]
            out.index_add_(0, self.member_rows, torch.bmm(z, eps))


Rows = PopulationRows | MixedRows


def _add_delta(delta: Delta, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
    pair = delta.stacked.get(name)
    if pair is not None:
        a, b = pair
        z = x @ a.to(x.dtype).T  # (rows, seq, R)
        out.view(-1, out.shape[-1]).addmm_(z.view(-1, z.shape[-1]), b.to(x.dtype))


def _perturbation(population: Population, pairs: range, name: str, like: torch.Tensor) -> torch.Tensor:
    """sigma * noise of one layer, (pairs, rank, out) in the dtype and on the device of `like`."""
    cached = population.made.get((name, pairs))
    if cached is None:
        _, out, rank = population.side.slots[name]
        eps = noise.noise(population.seed, population.step, pairs, name, (out, rank), like.device)
        cached = (eps.mul_(population.sigma)).transpose(1, 2).to(like.dtype).contiguous()
        population.made[(name, pairs)] = cached
    return cached


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
                self._rows.add(name, args[0], out)

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
