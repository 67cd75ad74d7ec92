"""How much of the device learning may have, and in how long slices. Knows seconds, no work.

Between two tokens of the requests a slice of learning may go. What it takes is paid by what serving has taken: learning
gets (max_slowdown - 1) seconds for each second of serving, so that a token takes max_slowdown times as long at most, in
the mean, and learning is never starved for good. Where no request is in hand nothing is counted.

A slice keeps who asks meanwhile waiting, and short slices are the dearer ones. So they are short between two tokens,
where every answer feels them; longer where no request is in hand, where only a first token may; and grow while nobody
asks: who was away for a while waits PATIENCE of that at most.
"""

from dataclasses import dataclass

SHORT = 0.02  # seconds of a slice between two tokens
GAP = 0.04  # and of one where no request is in hand
PATIENCE = 0.01
MOST_SAVED = 2.0  # slices of credit that are kept for later: a burst of slices would be felt


@dataclass
class Share:
    """max_slowdown: how many times as long a token may take. slice_seconds: how long a slice is expected to last at
    most."""

    max_slowdown: float
    slice_seconds: float
    credit: float = 0.0  # seconds

    def served(self, seconds: float) -> None:
        """Requests had the device."""
        self.credit = min(self.credit + (self.max_slowdown - 1) * seconds, MOST_SAVED * self.slice_seconds)

    def learned(self, seconds: float) -> None:
        """A slice of learning had it while requests waited."""
        self.credit -= seconds

    def admits(self) -> bool:
        """Whether a slice may go between two tokens now."""
        return self.credit >= self.slice_seconds


def slice_seconds(quiet: float | None, longest: float) -> float:
    """How long a slice may last when no request was in hand for `quiet` seconds; None: one is. longest:
    `serve.max_slice_ms` in seconds."""
    return min(longest, SHORT if quiet is None else max(GAP, PATIENCE * quiet))
