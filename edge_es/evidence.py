"""What is known of the fitness' reliability by now: its running mean, and whether there is a signal at all.

A single batch's split-half reliability scatters by 0.2 around a mean of 0.14 where there is something to learn and of
0 where there is not (docs/forgetting.md), so no batch says which it is. Page's cumulative sum (Biometrika 1954) does:
what each batch is above or below a limit between the two is added up, within bounds, so that a long past does not weigh
for ever. It begins just above 0: under noise it is below after about four batches, and comes back above in one of a
hundred; where there is a signal it stays.
"""

from __future__ import annotations

from dataclasses import dataclass

PRIOR = 0.2  # the reliability that is taken before any was measured
PRIOR_LOOKS = 2  # how many batches that counts as
RECENT = 0.05  # least weight of the newest batch in the mean
WINDOW = 128  # batches that the sum looks back at
BEGIN = 0.15  # of the sum, at a limit of 0; none at a limit of 1, which only what is wholly reliable reaches
LEAST, MOST = -1.5, 2.0  # of the sum
CERTAIN = 1.0  # sum from which steps have their full length


@dataclass(frozen=True)
class Evidence:
    """mean: running mean of the split-half reliability. looks: batches whose reliability was measured. recent: of the
    newest of them, oldest first."""

    mean: float = PRIOR
    looks: int = 0
    recent: tuple[float, ...] = ()

    def after(self, reliability: float | None) -> Evidence:
        """With one more batch; None: it could not be told from it."""
        if reliability is None:
            return self
        looks = self.looks + 1
        weight = max(RECENT, 1 / (PRIOR_LOOKS + looks))
        mean = (1 - weight) * self.mean + weight * reliability
        return Evidence(mean, looks, (*self.recent, reliability)[-WINDOW:])

    def total(self, limit: float) -> float:
        """The cumulative sum of what batches are over `limit`; there is a signal while it is over 0."""
        total = BEGIN * (1 - limit)
        for reliability in self.recent:
            total = min(MOST, max(LEAST, total + reliability - limit))
        return total

    def trust(self, limit: float) -> float:
        """Factor on the step size: how far the sum is over 0, as a share of CERTAIN. Under noise it gets over 0 now and
        then, and hardly ever far; a step that is half as long costs a quarter. 1 where every batch passes."""
        return 1.0 if limit <= -1 else min(1.0, max(0.0, self.total(limit) / CERTAIN))
