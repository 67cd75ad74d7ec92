"""Pieces of work that do not fit, or that have become too long, are done in halves."""

import pytest

from edge_es.halving import halving, in_two
from edge_es.model import Costs
from edge_es.slices import run


def tokens(index: list[int]) -> int:
    return 100 * len(index)


def paced(limit: float | None) -> Costs:
    """A device on which a token takes a millisecond."""
    costs = Costs()
    costs.reading.limit = limit
    costs.reading.took(4096, 4.096)
    return costs


@pytest.mark.parametrize(("limit", "longest"), [(None, 16), (1.6, 16), (0.4, 8), (0.2, 4), (0.01, 1)])
def test_pieces_that_were_planned_when_slices_were_longer(limit: float | None, longest: int) -> None:
    done: list[list[int]] = []
    costs = paced(limit)
    costs.reading.took = lambda *_: None  # type: ignore[method-assign]  # the pace of this machine is none of it
    count = run(halving(costs, [list(range(16)), list(range(16, 20))], done.append, in_two, tokens))
    assert max(map(len, done)) == longest and count == len(done)
    assert [i for piece in done for i in piece] == list(range(20)), "all of it, once, in order"


def test_a_piece_that_does_not_fit_and_all_that_follow_are_halved() -> None:
    done: list[list[int]] = []

    def work(index: list[int]) -> None:
        if len(index) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        done.append(index)

    costs = Costs()
    assert run(halving(costs, [list(range(8)), list(range(8, 16))], work, in_two, tokens)) == 4
    assert costs.halved == 1 and [i for piece in done for i in piece] == list(range(16))


def test_what_has_no_halves_raises_what_it_raised() -> None:
    def work(index: list[int]) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    with pytest.raises(RuntimeError, match="allocate"):
        run(halving(Costs(), [[1]], work, in_two, tokens))
