"""What is known of the fitness' reliability by now: its running mean, whether there is a signal at all, and by how many
events a step can tell it.

A single batch's split-half reliability scatters by 0.2 around a mean of 0.14 where there is something to learn and of
0 where there is not (docs/forgetting.md), so no batch says which it is. Page's cumulative sum (Biometrika 1954) does:
what each batch is above or below a limit between the two is added up, within bounds, so that a long past does not weigh
for ever. It begins just above 0: under noise it is below after about four batches, and comes back above in one of a
hundred; where there is a signal it stays.

As more is solved, events agree less on where to go next, and a batch that was reliable enough is no more. By Spearman
and Brown the odds of reliability, r / (1 - r), grow with the number of events; so batches are as large as it takes
for WANTED, rather than steps along noise, or a gate that closes with much unsolved (growing batches in place of
shorter steps: arXiv 1711.00489). Once the sum says that there is no signal, batches are small again: what has nothing
to teach is not to be paid for.
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
WANTED = 0.3  # reliability of a batch, for which it grows
RECENT_ODDS = 0.1  # least weight of the newest batch in the mean of the odds
MOST_ODDS = 9.0  # of a single batch: reliability of 0.9
GIVEN_UP = -0.75  # sum under which batches do not grow


@dataclass(frozen=True)
class Evidence:
    """mean: running mean of the split-half reliability. looks: batches whose reliability was measured. recent: of the
    newest of them, oldest first. odds: running mean of the odds of reliability that an event adds; None before the
    first look."""

    mean: float = PRIOR
    looks: int = 0
    recent: tuple[float, ...] = ()
    odds: float | None = None

    def after(self, reliability: float | None, events: int) -> Evidence:
        """With one more batch of so many events; None: its reliability could not be told."""
        if reliability is None:
            return self
        looks = self.looks + 1
        weight = max(RECENT, 1 / (PRIOR_LOOKS + looks))
        mean = (1 - weight) * self.mean + weight * reliability
        # What is negative is stepped up alike, so that noise has odds of 0 in the mean.
        own = reliability / max(1 - abs(reliability), 1 / (MOST_ODDS + 1)) / events
        before = WANTED / (1 - WANTED) / events if self.odds is None else self.odds
        weight = max(RECENT_ODDS, 1 / (PRIOR_LOOKS + looks))
        return Evidence(mean, looks, (*self.recent, reliability)[-WINDOW:], (1 - weight) * before + weight * own)

    def batch(self, least: int, most: int, limit: float) -> int:
        """Events that the next step takes: `least`, doubled as long as fewer would be less reliable than WANTED, and
        `most` allows it."""
        if self.odds is None or self.total(limit) <= GIVEN_UP:
            return least
        size = least
        while 2 * size <= most and 2 * size * self.odds <= WANTED / (1 - WANTED):
            size *= 2
        return size

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
