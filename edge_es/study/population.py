"""What a larger population buys: one learner a size of population, read at equal steps and at equal evaluations.

Where many members a step are what a skill needs, more machines pay; where the same evaluations are spent better on
more steps, they do not.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_es.model import Base
from edge_es.rows import Row
from edge_es.study import record
from edge_es.study.adapter import EdgeES
from edge_es.study.arms import arm, learner, merged
from edge_es.study.suites import retentions
from edge_es.study.tasks import material

SIZES = (16, 32, 64, 128, 256, 512, 1024)
EVALUATIONS, STEPS, LOOKS = 60_000, 20, 10

Say = Callable[[float, str], None]  # share of the run that is done, what is known


@dataclass(frozen=True)
class Run:
    """A learner with so many members. evaluations, steps: it goes on until it has both, and is looked at at every
    tenth of either. events: items to learn from. items: most that are read of a suite at the end; None: all. over:
    configuration keys."""

    task: str
    population: int
    seed: int
    evaluations: int
    steps: int
    events: int
    items: int | None = None
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"{self.task}-{self.population}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "over": dict(self.over or {})}


@dataclass
class Due:
    """Places at which something is to be looked at: every so many of `most`, and the last."""

    most: int
    passed: int = 0

    def now(self, at: int) -> bool:
        """Whether a place was reached since this was last asked."""
        reached = min(LOOKS, at * LOOKS // self.most)
        fresh, self.passed = reached > self.passed, reached
        return fresh


def kept_run(base: Base, of: Run, folder: Path, say: Say = lambda share, state: None) -> dict[str, Any]:
    """The record FOLDER/NAME.json, made if there is none of these settings."""
    return record.made(folder / f"{of.name}.json", "run", of.settings(), lambda: learn(base, of, say))


def learn(base: Base, of: Run, say: Say = lambda share, state: None) -> dict[str, Any]:
    """The record: the curve (accuracy on the task by steps and evaluations), every step in short, and the retention of
    every suite at the end. Seconds are those of steps."""
    it = material(base, of.task, of.seed, of.items, of.events)
    at = learner(arm("defaults"), base, it, of.seed, merged(of.over or {}, {"search": {"population": of.population}}))
    assert isinstance(at, EdgeES)
    curve = [{"step": 0, "evaluations": 0, "seconds": 0.0, "new_task": it.task.measure(base, at.delta).score}]
    steps: list[dict[str, Any]] = []
    taken, seconds = 0, 0.0
    due = (Due(of.evaluations), Due(of.steps))
    while at.evaluations < of.evaluations or taken < of.steps:
        seen, began = len(at.journal.rows()), time.perf_counter()
        at.step()
        seconds, taken = seconds + time.perf_counter() - began, taken + 1
        steps += [_told(row) for row in at.journal.rows()[seen:] if row.kind == "step"]
        reached = [one.now(so_far) for one, so_far in zip(due, (at.evaluations, taken), strict=True)]
        if any(reached):
            score = it.task.measure(base, at.delta).score
            curve.append({"step": taken, "evaluations": at.evaluations, "seconds": seconds, "new_task": score})
            share = min(at.evaluations / of.evaluations, taken / of.steps)
            say(share, f"{of.name}, step {taken}, {at.evaluations} evaluations: task {score:.3f}")
    return {
        "run": of.settings(),
        "curve": curve,
        "retention": retentions(base, at.delta, it.priors),
        "norm": at.delta.norm(),
        "device": str(base.device),
        "steps": steps,
    }


def _told(row: Row) -> dict[str, Any]:
    return {
        "reason": row.reason,
        "reliability": row.stats.get("fitness_reliability"),
        "step_norm": row.stats.get("step_norm"),
        "alpha": float.fromhex(row.alpha),
    }
