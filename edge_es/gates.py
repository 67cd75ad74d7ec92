"""Gates: whether a step may be published at all. A gate answers with the reason for a rejection, or None.

Signal gate: NaN, ties and split-half reliability of the fitness, before the step. Canary gate: KL to the anchor on
protected prompts, before anyone is served by the step (KL as the early warning of forgetting: arXiv 2509.04259).
"""

import math

import numpy as np

from edge_es.config import GatesSection
from edge_es.fitness import Fitness


def signal_gate(fitness: Fitness, reliability: float | None, section: GatesSection) -> str | None:
    """The reason why this fitness carries no signal, or None. reliability: running mean, this step's included, since
    one split of one batch scatters widely."""
    if not np.isfinite(fitness.members).all():
        return "fitness is not finite: a member broke the model's numerics"
    if fitness.tie_rate > section.max_tie_rate or fitness.members.std() == 0:
        return f"members tie on {fitness.tie_rate:.0%} of the events (limit {section.max_tie_rate:.0%})"
    if reliability is not None and reliability < section.min_reliability:
        return f"running fitness reliability {reliability:.2f} is under {section.min_reliability:.2f}"
    return None


def canary_gate(kl: float, section: GatesSection) -> str | None:
    """The reason why a candidate this far from the anchor (mean nats a token) is not published, or None."""
    if math.isnan(kl):
        return "canary: the candidate's output is not finite"
    if section.canary_kl is not None and kl > section.canary_kl:
        return f"canary: KL to the anchor {kl:.3f} nats a token is over {section.canary_kl:.3f}"
    return None
