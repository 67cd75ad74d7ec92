"""What is taught and what must be kept: a task's items, the prior suites, and the texts that drift is measured on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from edge_es.feedback import Event
from edge_es.likelihood import Text
from edge_es.study.suites import Suite

DRIFT_TEXTS = 64


@dataclass(frozen=True)
class Material:
    """events: to learn from. task: held out. priors: what must be kept. protected: texts that guards may know,
    disjoint from every suite. near_task, near_prior: texts on whose answers the KL to the anchor is measured.
    answer_tokens: longest answer that is generated for a grader; None: as each arm comes."""

    name: str
    events: tuple[Event, ...]
    task: Suite
    priors: dict[str, Suite]
    protected: tuple[Text, ...]
    near_task: tuple[Text, ...]
    near_prior: tuple[Text, ...]
    answer_tokens: int | None = None


def some(texts: Sequence[Text], rng: random.Random) -> tuple[Text, ...]:
    """DRIFT_TEXTS of them, or all."""
    return tuple(rng.sample(texts, min(DRIFT_TEXTS, len(texts))))
