"""What earlier feedback taught is spared like what the model could do before, once other feedback comes.

The inputs of events that are solved by then join the protected ones when the next input side is made, as in gradient
projection memory (Saha, Garg and Roy 2021, arXiv 2103.09762). Sides made later for the same feedback spare the same
events and no more: what is learned in between is what those sides are for.
"""

from collections.abc import Mapping

SOLVED = 0.75  # share of members that solve an event that counts as learned


def learned(solved: Mapping[str, float], most: int) -> tuple[str, ...]:
    """Ids of at most `most` events that are solved, spread evenly over the order of their last looks."""
    ids = [one for one, share in solved.items() if share >= SOLVED]
    count = min(most, len(ids))
    return tuple(ids[place * len(ids) // count] for place in range(count))
