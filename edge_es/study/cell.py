"""One cell: an arm learns a task with a seed, and is looked at on the way. Its file is the record of it, made once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_es.config import ModelSection
from edge_es.errors import InputError
from edge_es.meter import peak_bytes
from edge_es.model import load_base
from edge_es.study import plan, record
from edge_es.study.arms import Tree, arm, learner
from edge_es.study.material import Material
from edge_es.study.measure import Anchor, Checkpoint, anchor_of, checkpoint
from edge_es.study.subject import Subject
from edge_es.study.tasks import material


@dataclass(frozen=True)
class Cell:
    """evaluations: the budget; no step begins beyond it. looks: checkpoints on the way, evenly over the budget. items:
    most of a prior suite that are read at them; the last one reads all. events: to learn from. until: accuracy on the
    task at which it ends sooner. over: settings in place of the arm's. subject: the model that is taught."""

    arm: str
    task: str
    seed: int
    evaluations: int
    looks: int = 10
    items: int | None = None
    events: int = plan.EVENTS
    until: float | None = None
    over: Tree = field(default_factory=dict)
    subject: Subject = field(default_factory=Subject)

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"{self.arm}-{self.task}-{self.seed}"


Say = Callable[[float, Checkpoint], None]
"""What is told of a cell as it goes on: the share of its budget that is spent, and the newest checkpoint."""


def finished(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The record of a cell that was run to its end with the same settings before; None where there is none."""
    return record.kept(folder / f"{cell.name}.json", "cell", _settings(cell))


def run_cell(cell: Cell, folder: Path, say: Say = lambda share, at: None) -> dict[str, Any]:
    """Runs it and writes FOLDER/NAME.json, whole or not at all. Raises InputError for a task the arm cannot learn."""
    of = arm(cell.arm)
    base = load_base(ModelSection(ref=cell.subject.model, quantization=of.quantization, device="auto"))  # type: ignore[arg-type]
    some, whole = (
        material(base, cell.task, cell.seed, items, cell.events, cell.subject) for items in (cell.items, None)
    )
    at = learner(of, base, some, cell.seed, cell.over)
    anchors = {id(it): anchor_of(base, it) for it in (some, whole)}
    _learnable(whole, anchors[id(whole)], cell.subject)
    found = [checkpoint(at, some, anchors[id(some)], 0, 0.0)]
    steps, seconds, peak = 0, 0.0, 0
    due = [cell.evaluations * look // cell.looks for look in range(1, cell.looks + 1)]
    while at.evaluations < cell.evaluations:
        if steps == 1:  # the first step may set up what later ones do not
            peak = peak_bytes(base.device, at.step)
        else:
            began = time.perf_counter()
            at.step()
            seconds += time.perf_counter() - began
        steps += 1
        if at.evaluations >= due[0]:
            due = [one for one in due if one > at.evaluations] or [cell.evaluations]
            found.append(checkpoint(at, some, anchors[id(some)], steps, seconds))
            say(at.evaluations / cell.evaluations, found[-1])
            if cell.until is not None and found[-1].new_task >= cell.until:
                break
    # The second step was counted apart, which is slow: it is taken to last as long as the others.
    seconds *= steps / max(1, steps - 1)
    last = checkpoint(at, whole, anchors[id(whole)], steps, seconds)
    result: dict[str, Any] = {
        "cell": _settings(cell),
        "anchor": {"new_task": anchors[id(whole)].task, "priors": anchors[id(whole)].priors},
        "checkpoints": [one.as_json() for one in found],
        "final": {**last.as_json(), "peak_bytes": peak},
        "base_bytes": base.weight_bytes,
        "device": str(base.device),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "bitsandbytes")},
    }
    record.keep(folder / f"{cell.name}.json", result)
    return result


def _learnable(it: Material, anchor: Anchor, subject: Subject) -> None:
    if anchor.task == 0 and all(event.kind == "task" for event in it.events):
        raise InputError(
            f"{it.name} cannot be learned from graded answers that are never right: {subject.model} solves 0 of "
            f"{len(it.task.texts)} held-out items; take a model that solves some"
        )


def _settings(cell: Cell) -> Mapping[str, Any]:
    return {
        "arm": cell.arm,
        "task": cell.task,
        "seed": cell.seed,
        "evaluations": cell.evaluations,
        "looks": cell.looks,
        "items": cell.items,
        "events": cell.events,
        "until": cell.until,
        "over": dict(cell.over),
        **cell.subject.as_json(),
    }
