"""An evaluator by a crew of workers: shares of a population, handed out by availability, joined in the order of pairs.

Shares have one size whatever the number of workers, so that the same ask gives the same bits however many there are.
A share that comes back with numbers that are not finite is asked of another once more, since a sound machine may have
broken arithmetic as well. Where nobody is left, what came back has to do, if it is enough.
"""

from collections.abc import Sequence

import numpy as np

from edge_es.cluster import rays
from edge_es.cluster.crew import LOOK, Crew
from edge_es.cluster.rays import ClusterError
from edge_es.cluster.way import Ways
from edge_es.evaluator import Ask, Scores
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta


class OnWorkers:
    """pairs: of a share. min_share: of the pairs of an ask, that must be whole. ways: by which workers follow
    the ledger."""

    def __init__(self, crew: Crew, ways: Ways, pairs: int, min_share: float) -> None:
        self._crew, self._ways, self._pairs, self._min_share = crew, ways, pairs, min_share

    def scores(self, delta: Delta, ask: Ask) -> Slices[Scores]:
        """`delta` is not read: workers have it by the ledger. Raises ClusterError where too little comes back."""
        shares = [ask.pairs[first : first + self._pairs] for first in range(0, len(ask.pairs), self._pairs)]
        waiting, doubted = list(shares), set[range]()
        found: dict[range, Scores] = {}
        self._crew.muster()
        told = rays.put(ask)
        try:
            while len(found) < len(shares) and self._crew.working():
                self._crew.hand_out(waiting, told, ask.version, self._ways)
                for back in self._crew.collect(LOOK):
                    if back.scores is None:
                        waiting.append(back.share)
                    elif _finite(back.scores) or back.share in doubted:
                        found[back.share] = back.scores
                    else:
                        doubted.add(back.share)
                        waiting.append(back.share)
                yield
        finally:
            self._crew.forget()
        whole = [share for share in shares if share in found]
        count = sum(map(len, whole))
        if count < len(ask.pairs):
            partial = ask.events and not ask.apart and count >= max(2, self._min_share * len(ask.pairs))
            if not partial:
                raise ClusterError(f"{count} of {len(ask.pairs)} pairs came back: {self._crew.reasons()}")
        return joined(whole, [found[share] for share in whole], count < len(ask.pairs))


def joined(shares: Sequence[range], parts: Sequence[Scores], partial: bool) -> Scores:
    """The scores of all shares side by side, in their order. partial: some of the pairs are missing."""
    counts = np.array([len(share) for share in shares], dtype=np.float64)
    told = zip(*(part.solved for part in parts), strict=True)
    drifts = [part.drift for part in parts if part.drift is not None]
    return Scores(
        raw=np.concatenate([part.raw for part in parts], axis=1),
        solved=tuple(None if None in one else float(np.average(np.array(one), weights=counts)) for one in told),
        drift=np.concatenate(drifts) if drifts else None,
        passes=sum(part.passes for part in parts),
        halved=sum(part.halved for part in parts),
        pairs=tuple(pair for share in shares for pair in share) if partial else None,
    )


def _finite(scores: Scores) -> bool:
    return bool(np.isfinite(scores.raw).all() and (scores.drift is None or np.isfinite(scores.drift).all()))
