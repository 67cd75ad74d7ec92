"""A checkpoint: what an arm has learned by now, what it has forgotten, how far it moved, and what that took."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from edge_es.errors import InputError
from edge_es.likelihood import Batch, Text, answer_logits, collate, same_weights
from edge_es.model import Base
from edge_es.spaces.delta import Delta
from edge_es.study.change import measured
from edge_es.study.learning import Learner
from edge_es.study.material import Material
from edge_es.study.suites import retention


@dataclass(frozen=True)
class Anchor:
    """What an arm is compared with, taken before its first step. task, priors: scores. near_task, near_prior: batches
    with the anchor's log-probabilities at their kept columns, (rows, c, vocabulary)."""

    task: float
    priors: dict[str, float]
    near_task: tuple[Batch, torch.Tensor]
    near_prior: tuple[Batch, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What an arm is like after some of its steps.

    new_task: accuracy on the held-out items; gain: over the anchor's. new_nats: of the taught answers, a token, where
    the task measures them. retention: suite -> score over the anchor's, turned round where lower is better. seconds:
    of the steps alone. norm, relative_norm: of the change of all weights that the arm may move. walk_ratio: norm over
    the root of the summed squared step norms. formula_ratio: norm over alpha * sqrt(d * T / N), es-full only.
    sparsity: kind of layer -> precision and tau -> share. kl_new, kl_prior: KL(anchor || now), nats a token, on
    answers to the new task and to prior ones.
    """

    step: int
    evaluations: int
    seconds: float
    new_task: float
    gain: float
    retention: dict[str, float]
    retention_min: float
    retention_mean: float
    norm: float
    relative_norm: float
    walk_ratio: float | None
    formula_ratio: float | None
    sparsity: dict[str, dict[str, float]]
    kl_new: float
    kl_prior: float
    new_nats: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def anchor_of(base: Base, it: Material) -> Anchor:
    """Of the base as it is now. Raises InputError for a prior suite whose score is 0: nothing of it can be kept."""
    priors = {name: suite.measure(base, Delta()).score for name, suite in it.priors.items()}
    if nothing := [name for name, score in priors.items() if score == 0]:
        raise InputError(f"the model scores 0 on {', '.join(nothing)}: nothing of it can be kept; leave it out")
    near = [_near(base, texts) for texts in (it.near_task, it.near_prior)]
    return Anchor(it.task.measure(base, Delta()).score, priors, near[0], near[1])


def checkpoint(at: Learner, it: Material, anchor: Anchor, step: int, seconds: float) -> Checkpoint:
    """Of the arm as it is now; it is not changed."""
    new, nats = it.task.measure(at.base, at.delta)
    kept = {
        name: retention(suite, suite.measure(at.base, at.delta).score, anchor.priors[name])
        for name, suite in it.priors.items()
    }
    change = measured(at.moved())
    formula = getattr(at, "formula", None)
    walked = formula() if formula else 0.0
    return Checkpoint(
        step=step,
        evaluations=at.evaluations,
        seconds=seconds,
        new_task=new,
        gain=new - anchor.task,
        retention=kept,
        retention_min=min(kept.values()),
        retention_mean=sum(kept.values()) / len(kept),
        norm=change.norm,
        relative_norm=change.relative,
        walk_ratio=change.norm / math.sqrt(at.walk) if at.walk > 0 else None,
        formula_ratio=change.norm / walked if walked > 0 else None,
        sparsity={kind: dict(shares) for kind, shares in change.sparsity.items()},
        kl_new=_drift(at, *anchor.near_task),
        kl_prior=_drift(at, *anchor.near_prior),
        new_nats=nats,
    )


def _near(base: Base, texts: Sequence[Text]) -> tuple[Batch, torch.Tensor]:
    batch = collate(base, texts)
    return batch, answer_logits(base, batch, None).log_softmax(-1)


def _drift(at: Learner, batch: Batch, anchor: torch.Tensor) -> float:
    """Mean over the texts of the KL a token."""
    now = answer_logits(at.base, batch, same_weights(at.base, at.delta, len(batch.ids))).log_softmax(-1)
    each = (anchor.exp() * (anchor - now)).sum(-1)  # (rows, c)
    return float(((each * batch.answer).sum(1) / batch.answer.sum(1).clamp(min=1)).mean())
