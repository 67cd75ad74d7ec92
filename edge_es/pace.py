"""How long a batch lasts: seconds a token, measured as work goes on, so that a slice of learning can be kept short.

A batch costs something however small it is, so what a token costs hangs on the size of the batch. The size is sought
where it is used: batches as long as they may be, measured, make the next ones longer or shorter.
"""

from dataclasses import dataclass

FIRST = 256  # tokens of a batch before any was measured
UP, DOWN = 0.5, 0.05  # weight of a batch that was slower than expected, and of one that was faster
SMALL = 0.5  # share of the tokens allowed, under which a batch says nothing about those that use it up


@dataclass
class Pace:
    """seconds: what a token has cost of late; nearer to the slow batches than to the fast ones. None: not known.
    limit: seconds that a batch may last; None: as long as it likes."""

    limit: float | None = None
    seconds: float | None = None

    def tokens(self) -> int | None:
        """Most tokens of a batch; None: any number."""
        if self.limit is None:
            return None
        return FIRST if self.seconds is None else max(1, int(self.limit / self.seconds))

    def took(self, tokens: int, seconds: float) -> None:
        """A batch of so many tokens lasted so long."""
        most = self.tokens()
        if not tokens or most is None:
            return
        each = seconds / tokens
        if tokens < SMALL * most and seconds < (self.limit or 0.0):
            return  # of what its size does not pay for
        if self.seconds is None:
            self.seconds = each
        else:
            self.seconds += (UP if each > self.seconds else DOWN) * (each - self.seconds)
