"""Guards: what limits a step or the delta. Each is on or off by configuration; what it decided is a ledger scalar.

Order: step-norm clip, anchored decay, trust region. Decay and trust region act on the whole delta, frozen parts
included. Before them come the sparsity mask and the null space, which are built into the basis (`spaces/`).
Anchored decay: arXiv 2605.30148, on the fp32 delta (in bf16 it silently fails). Knows tensors and numbers, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_es.config import GuardsSection
from edge_es.spaces.delta import Delta
from edge_es.strategy import apply, fp32, raw_step


@dataclass(frozen=True)
class Guarded:
    """A step with its guards: scalars for the ledger, the candidate, and the norm of the step as it was taken."""

    scalars: dict[str, float]
    candidate: Delta
    step_norm: float


def guard(
    delta: Delta,
    seed: int,
    step: int,
    shaped: Sequence[float],
    alpha: float,
    section: GuardsSection,
    shortened: float = 1.0,
    pairs: Sequence[int] = (),
) -> Guarded:
    """Decides every guard's scalar for this step and takes it. `delta` is unchanged. shortened: what `alpha` is of the
    configured step size; decay goes with it, as in its source, or a short step would learn less than is drawn back.
    pairs: as in `raw_step`."""
    scalars: dict[str, float] = {}
    norm = delta.active.basis.length(raw_step(delta, seed, step, shaped, alpha, pairs))
    if section.clip is not None and norm > section.clip:
        scalars["clip"] = fp32(section.clip / norm)
        norm = section.clip
    if section.decay > 0:
        scalars["decay"] = fp32(1.0 - section.decay * shortened)
    candidate = apply(delta, seed, step, shaped, alpha, scalars, pairs)
    if section.trust_radius is not None and (norm_after := candidate.norm()) > section.trust_radius:
        scalars["trust"] = fp32(section.trust_radius / norm_after)
        candidate = apply(delta, seed, step, shaped, alpha, scalars, pairs)
    return Guarded(scalars, candidate, norm)
