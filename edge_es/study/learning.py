"""What every arm is to the rest of the study: something that takes steps and can be looked at in between."""

from collections.abc import Iterator
from typing import Protocol

from edge_es.model import Base
from edge_es.spaces.delta import Delta
from edge_es.study.change import Moved

ANSWER_TOKENS = 16  # of an answer that is generated for a grader where its task does not say: a word or a number


class Learner(Protocol):
    """base and delta together are the model as learned so far: an arm moves the one or the other."""

    base: Base

    @property
    def delta(self) -> Delta: ...

    @property
    def evaluations(self) -> int:
        """Answers that were scored, graded or trained on so far: members times items, rollouts, or examples."""
        ...

    @property
    def walk(self) -> float:
        """Sum of the squared norms of the steps so far."""
        ...

    def step(self) -> None:
        """Draws items and learns from them."""
        ...

    def moved(self) -> Iterator[Moved]:
        """Every weight that this arm may move, with its change since the anchor."""
        ...
