"""Gates: whether a step may be published at all. A gate answers with the reason for a rejection, or None.

Signal gate: NaN, ties and split-half reliability of the fitness, before the step. Canary gate: KL to the anchor on
protected prompts, before anyone is served by the step (KL as the early warning of forgetting: arXiv 2509.04259).
"""

import math

import numpy as np

from edge_es.config import GatesSection
from edge_es.evidence import Evidence
from edge_es.fitness import Fitness


def signal_gate(fitness: Fitness, evidence: Evidence, section: GatesSection) -> str | None:
    """The reason why this fitness carries no signal, or None. evidence: of all batches, this step's included, since one
    batch's reliability scatters widely."""
    if not np.isfinite(fitness.members).all():
        return "fitness is not finite: a member broke the model's numerics"
    if fitness.tie_rate > section.max_tie_rate or fitness.members.std() == 0:
        return f"members tie on {fitness.tie_rate:.0%} of the events (limit {section.max_tie_rate:.0%})"
    if (total := evidence.total(section.min_reliability)) <= 0:
        return (
            f"no evidence of a signal: reliability {evidence.mean:.2f} in the mean, its sum over the limit "
            f"{section.min_reliability:.2f} is {total:.2f}"
        )
    return None


def canary_gate(kl: float, section: GatesSection) -> str | None:
    """The reason why a candidate this far from the anchor (mean nats a token) is not published, or None."""
    if math.isnan(kl):
        return "canary: the candidate's output is not finite"
    if section.canary_kl is not None and kl > section.canary_kl:
        return f"canary: KL to the anchor {kl:.3f} nats a token is over {section.canary_kl:.3f}"
    return None
