"""Members that may answer requests: drawn ahead of them, each bounded by the canary, none ever drawn twice.

A stock is made between requests, for one version: its members are evaluated on the canary's texts once, all in the same
passes, so that a request waits for nothing. The noise is that of one step number for all versions, and pairs are
numbered on and on; so a member is the same vector under every version that has its basis.
"""

from dataclasses import dataclass, replace

import torch

from edge_es.evaluator import drift
from edge_es.feedback import Drawn
from edge_es.gates import canary_gate
from edge_es.learner import look_around, near_texts
from edge_es.memory import plan
from edge_es.sidechannel import Member
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta
from edge_es.state import State, Surroundings
from edge_es.strategy import Population

STEP = -2  # of the noise of members that answer: turns number theirs from 1, and masks have -1


@dataclass(frozen=True)
class Stock:
    """Members of one version that may answer, next one first; plus and minus of a pair follow one another."""

    version: int
    delta: Delta
    population: Population
    members: tuple[tuple[int, int], ...]  # (pair within the population, sign)


def draw(state: State, first: int, around: Surroundings) -> Slices[Stock]:
    """A stock for the version of `state`, of the pairs from number `first` on: as many as a population has, less those
    of which a member is further from the anchor than the canary allows.

    Raises StateError where there is no basis yet, or the memory budget holds no pair.
    """
    base, search, gates = around.base, around.config.search, around.config.gates
    basis = state.delta.active.basis
    population = Population(search.seed, STEP, search.population, search.live_sigma, basis, first)
    fit = list(range(population.pairs))
    if gates.canary_kl is not None:
        state = yield from look_around(state, around)
        if texts := near_texts(state, around):
            held = basis.noise_bytes(population.pairs, torch.finfo(base.dtype).bits // 8)
            room = plan(base, state.delta, around.config.learn.memory_budget, held)
            each = yield from drift(base, state.delta, population, texts, room)
            fit = [p for p in fit if not any(canary_gate(float(kl), gates) for kl in each[2 * p : 2 * p + 2])]
    return Stock(state.version, state.delta, population, tuple((pair, sign) for pair in fit for sign in (1, -1)))


def take(stock: Stock) -> tuple[Member, Drawn, Stock]:
    """The next member, how it can be drawn again, and what is left. The stock has one."""
    (pair, sign), *rest = stock.members
    of = stock.population
    drawn = Drawn(of.seed, of.step, of.first + pair, sign, of.sigma, of.basis.sha256)
    return Member(stock.delta, of, pair, sign), drawn, replace(stock, members=tuple(rest))


def again(delta: Delta, drawn: Drawn) -> Member:
    """The member as it answered under a version with this delta. Raises ValueError where it has another basis."""
    basis = delta.active.basis
    if basis.sha256 != drawn.basis:
        raise ValueError(f"the member perturbs basis {drawn.basis}, not {basis.sha256}")
    population = Population(drawn.seed, drawn.step, 2, drawn.sigma, basis, drawn.pair)
    return Member(delta, population, 0, drawn.sign)
