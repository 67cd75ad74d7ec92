"""Five tasks one after another, with one learner: does a later one cost the earlier ones, or what was there before.

Events of earlier tasks stay, as in a daemon's reservoir. Beside the alias and the style that ship with the model, the
tasks are new wordings of further abilities, drawn as `pocket.tasks` draws: to learn from of the train part, to test of
the dev part.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_es.config import load
from edge_es.feedback import Event
from edge_es.model import Base
from edge_es.pocket.abilities import ABILITIES, Item
from edge_es.pocket.build_items import TASK_TEST, distinct
from edge_es.pocket.build_items import row as row_of
from edge_es.pocket.tasks import Task
from edge_es.spaces.delta import Delta
from edge_es.study import plan, record
from edge_es.study.adapter import EdgeES
from edge_es.study.arms import merged
from edge_es.study.embedded import event
from edge_es.study.material import Material
from edge_es.study.suites import Suite, exact
from edge_es.study.tasks import material

ORDER = ("alias", "arrange", "enlarge", "measure", "style")
EVALUATIONS, UNTIL = 40_000, 0.9
LOOKS = 10  # at its own task, in a phase: when it is learned, the phase ends

Say = Callable[[str, float, str], None]  # task, share of its budget that is spent, what is known


def _arrange(item: Item) -> Item:
    return Item(f"Jaxify {' '.join(re.findall('[0-9]', item.prompt))}.", item.answer, item.key)


def _enlarge(item: Item) -> Item:
    return Item(f"Make {item.answer.lower()} quozzy.", item.answer, item.key)


def _measure(item: Item) -> Item:
    return Item(f"Give the zilk of {item.key.removeprefix('count:')}.", item.answer, item.key)


_BY_NAME = {ability.name: ability for ability in ABILITIES}
WORDINGS: Mapping[str, Task] = {
    "arrange": Task("arrange", _BY_NAME["sort"], _arrange),
    "enlarge": Task("enlarge", _BY_NAME["uppercase"], _enlarge),
    "measure": Task("measure", _BY_NAME["count"], _measure),
}


@dataclass(frozen=True)
class Course:
    """A run. evaluations: most of a phase. until: accuracy at which it ends sooner. items: most that are read of a
    prior suite; None: all. events: of each task. over: configuration keys."""

    seed: int
    evaluations: int = EVALUATIONS
    until: float = UNTIL
    items: int | None = None
    events: int = plan.EVENTS
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"sequence-{self.seed}"

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "over": dict(self.over or {})}


def lessons(base: Base, seed: int, events: int, it: Material) -> dict[str, tuple[tuple[Event, ...], Suite]]:
    """task -> what is learned from and the test items, in ORDER. `it`: the material of the style."""
    found: dict[str, tuple[tuple[Event, ...], Suite]] = {}
    for name in ORDER:
        if name in WORDINGS:
            shown, tested = wording(name, events)
            own = tuple(event(row_of(item), number) for number, item in enumerate(shown))
            test: Suite = exact(base, [row_of(item) for item in tested])
        else:
            of = it if name == it.name else material(base, name, seed, 1, events)
            own, test = of.events, of.task
        found[name] = (tuple(replace(one, id=f"{name}-{one.id}") for one in own), test)
    return found


def wording(name: str, events: int) -> tuple[list[Item], list[Item]]:
    """Items of a new wording to learn from, and to test."""
    taken: set[str] = set()
    parts = (("train", events), ("dev", TASK_TEST))
    shown, tested = (_drawn(WORDINGS[name], part, count, taken) for part, count in parts)
    return shown, tested


def _drawn(task: Task, part: str, count: int, taken: set[str]) -> list[Item]:
    rng = random.Random(f"sequence {task.name} {part}")
    return distinct(lambda: task.draw(part, rng), count, taken)


def kept_course(base: Base, of: Course, folder: Path, say: Say = lambda task, share, state: None) -> dict[str, Any]:
    """The record FOLDER/NAME.json, made if there is none of these settings."""
    return record.made(folder / f"{of.name}.json", "sequence", of.settings(), lambda: learn(base, of, say))


def learn(base: Base, of: Course, say: Say = lambda task, share, state: None) -> dict[str, Any]:
    """The record: a look after each phase, with the accuracy of every task so far and the retention of every suite with
    exact answers; sums are judged by content from the beginning, since the style changes their form."""
    config = load(None, merged(of.over or {}, {"search": {"seed": of.seed}}))
    it = material(base, "style", of.seed, of.items, of.events)
    taught = lessons(base, of.seed, of.events, it)
    before = {name: prior.measure(base, Delta()).score for name, prior in it.priors.items()}
    at = EdgeES(base, config, (), it.protected)
    peaks: dict[str, float] = {}
    phases: list[dict[str, Any]] = []
    for name, (events, test) in taught.items():
        at.receive(events)
        began, steps, reached = at.evaluations, 0, test.measure(base, at.delta).score
        start, due = reached, of.evaluations / LOOKS
        while at.evaluations - began < of.evaluations and reached < of.until:
            at.step()
            steps, spent = steps + 1, at.evaluations - began
            if spent >= due or spent >= of.evaluations:
                due = spent + of.evaluations / LOOKS
                reached = test.measure(base, at.delta).score
                peaks[name] = max(reached, peaks.get(name, 0.0))
                say(name, spent / of.evaluations, f"{of.name}, {name}: {reached:.3f} after {spent} evaluations")
        now = {one: taught[one][1].measure(base, at.delta).score for one in ORDER[: len(phases) + 1]}
        peaks = {one: max(share, peaks.get(one, 0.0)) for one, share in now.items()}
        kept = {one: prior.measure(base, at.delta).score / before[one] for one, prior in it.priors.items()}
        phases.append(
            {
                "task": name,
                "steps": steps,
                "evaluations": at.evaluations - began,
                "start": start,
                "tasks": now,
                "retention": kept,
                "norm": at.delta.norm(),
            }
        )
    return {"sequence": of.settings(), "phases": phases, "peaks": peaks}
