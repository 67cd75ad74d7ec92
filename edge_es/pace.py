"""How long a batch lasts: seconds a token, measured as work goes on, so that a slice of learning can be kept short.

A batch costs something however small it is, so what a token costs hangs on the size of the batch. It is known for sizes
that were tried, in powers of two; a larger one is tried where the largest known lets it hope to be short enough.
"""

from dataclasses import dataclass, field

FIRST = 256  # tokens of a batch before any was measured
UP, DOWN = 0.5, 0.05  # weight of a batch that was slower than expected, and of one that was faster
SMALL = 8  # a batch of so many times fewer tokens shows the overhead of all
KNEE = 2.0  # a batch may always last so many times its overhead, or it would be nothing but that


@dataclass
class Pace:
    """limit: seconds that a batch may last; None: as long as it likes, and nothing is learned. It may change from batch
    to batch. seconds: size -> what a token has cost of late in batches of 2**size tokens and less than twice that;
    nearer to the slow batches than to the fast ones."""

    limit: float | None = None
    seconds: dict[int, float] = field(default_factory=dict)

    def tokens(self) -> int | None:
        """Most tokens of a batch; None: any number."""
        if self.limit is None:
            return None
        if not self.seconds:
            return FIRST
        most = self._fitting(self.limit)
        overhead = [each * 2**size for size, each in self.seconds.items() if 2**size <= max(1, most // SMALL)]
        return self._fitting(max(self.limit, KNEE * min(overhead))) if overhead else most

    def _fitting(self, limit: float) -> int:
        """Most tokens that take so many seconds; sizes that were not tried cost a token what the next smaller did."""
        most, each = 1, self.seconds[min(self.seconds)]
        for size in range(max(self.seconds) + 2):
            each = self.seconds.get(size, each)
            if 2**size <= (fits := int(limit / each)):
                most = min(fits, 2 ** (size + 1) - 1)
        return most

    def took(self, tokens: int, seconds: float) -> None:
        """A batch of so many tokens lasted so long."""
        if not tokens or self.limit is None:
            return
        size, each = tokens.bit_length() - 1, seconds / tokens
        before = self.seconds.get(size, each)
        self.seconds[size] = before + (UP if each > before else DOWN) * (each - before)
        # What larger batches have cost was bad luck if smaller ones are cheaper a token: in time they are tried again.
        for larger, dear in self.seconds.items():
            if larger > size and dear > each:
                self.seconds[larger] = dear + DOWN * (each - dear)
