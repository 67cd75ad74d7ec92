"""A share of trials with its interval."""

import math

_Z = 1.959963984540054  # of a two-sided 95% interval


def wilson(count: int, trials: int) -> tuple[float, float]:
    """95% interval of a share by Wilson (1927), which stays sensible at 0 and at all. Raises ValueError for none."""
    if not 0 <= count <= trials or trials < 1:
        raise ValueError(f"{count} of {trials} is no share")
    share, spread = count / trials, _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, centre - reach), min(1.0, centre + reach)
