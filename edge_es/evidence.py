"""What is known of the fitness' reliability by now: a mean that is quick at first and follows slow changes later.

A single batch's split-half reliability scatters by 0.2 around a mean of 0.14 where there is something to learn and of 0
where there is not (docs/forgetting.md), so no batch says which it is. Before any was measured the mean stands at PRIOR,
which weighs as much as PRIOR_LOOKS batches: under noise it is under the signal gate's limit after about seven, and what
the steps until then did to prior abilities is all that noise costs.
"""

from __future__ import annotations

from dataclasses import dataclass

PRIOR = 0.2  # the reliability that is taken before any was measured
PRIOR_LOOKS = 2  # how many batches that counts as
RECENT = 0.05  # least weight of the newest batch


@dataclass(frozen=True)
class Evidence:
    """The running mean of the split-half reliability over `looks` batches."""

    mean: float = PRIOR
    looks: int = 0

    @property
    def measured(self) -> float | None:
        """The mean; None before the first look."""
        return self.mean if self.looks else None

    def after(self, reliability: float | None) -> Evidence:
        """With one more batch; None: it could not be told from it."""
        if reliability is None:
            return self
        looks = self.looks + 1
        weight = max(RECENT, 1 / (PRIOR_LOOKS + looks))
        return Evidence((1 - weight) * self.mean + weight * reliability, looks)
