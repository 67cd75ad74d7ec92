"""How large a change must be for a given loss: bisection on few items first, and on all of them at the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Loss = Callable[[float, int], float]  # scale, items -> what is lost on so many first items, a share


@dataclass(frozen=True)
class Level:
    """items: looked at (of each suite that counts). stride: factor by which the scale moves until it is bracketed."""

    items: int
    stride: float


def scale_for(
    loss: Loss, wanted: tuple[float, float], levels: Sequence[Level], start: float = 1.0, looks: int = 30
) -> tuple[float, float] | None:
    """(scale, loss) with a loss in `wanted` at the last level; None after so many looks, as where loss leaps.

    Loss grows with scale, roughly. Where few items lead is looked at anew by the next level, in shorter strides.
    Raises ValueError without a level.
    """
    scale, looked = start, 0
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        slack = 0.0 if last else 1 / level.items  # few items may have no share in between
        low, high = 0.0, math.inf
        while True:
            if looked == looks:
                return None
            looked += 1
            found = loss(scale, level.items)
            if found < wanted[0] - slack:
                low = scale
            elif found > wanted[1] + slack:
                high = scale
            elif last:
                return scale, found
            else:
                break
            if low == 0:
                scale /= level.stride
            elif high == math.inf:
                scale *= level.stride
            else:
                scale = math.sqrt(low * high)
    raise ValueError("no levels")
