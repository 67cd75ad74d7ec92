"""What was read and answered before, kept so that the next turn of a chat need not read it again.

Keys and values belong to the weights that made them: an entry is found by those very weights alone, and when others are
asked for it is dropped: no request begins on an older version any more (invariant 7), but for the few that ask for the
anchor, after which a chat is read anew.
"""

from collections import deque
from dataclasses import dataclass

from edge_es.cache import KeysValues, beginning, size_of
from edge_es.sidechannel import Member, Weights

LEAST = 16  # common tokens from which reuse pays


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens of one row, and their keys and values under `weights`."""

    tokens: tuple[int, ...]
    weights: Weights
    cache: KeysValues


class Prefixes:
    """The newest rows that fit in `limit` bytes, least lately used first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._kept: deque[Prefix] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, weights: Weights, prompt: tuple[int, ...]) -> tuple[int, KeysValues]:
        """How many of the prompt's first tokens were read before, all but one at most, and their keys and values;
        (0, []) where that are too few. A member answers once: nothing is kept of it, and for it nothing is dropped."""
        if isinstance(weights, Member):
            return 0, []
        for old in [one for one in self._kept if one.weights is not weights]:
            self._drop(old)
        best, length = None, LEAST - 1
        for one in self._kept:
            common = _common(one.tokens, prompt[:-1])
            if common > length:
                best, length = one, common
        if best is None:
            return 0, []
        self._kept.remove(best)
        self._kept.append(best)
        return length, beginning(best.cache, length)

    def keep(self, weights: Weights, tokens: tuple[int, ...], cache: KeysValues) -> None:
        """Remembers one row; what it goes on from is forgotten."""
        size = size_of(cache)
        if len(tokens) < LEAST or size > self.limit:
            return
        for old in [one for one in self._kept if one.weights is not weights or tokens[: len(one.tokens)] == one.tokens]:
            self._drop(old)
        while self.bytes + size > self.limit:
            self._drop(self._kept[0])
        self._kept.append(Prefix(tokens, weights, cache))
        self.bytes += size

    def _drop(self, one: Prefix) -> None:
        self._kept.remove(one)
        self.bytes -= size_of(one.cache)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
