"""A poisoned stream: the alias' demonstrations with a share of adversarial ones among them, against the clean stream.

What is adversarial may come from the same source as what is honest, which no weight or cap can tell apart, or from
another. The clean run has the same honest events, seed, evaluations and settings.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edge_es.config import load
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row
from edge_es.model import Base
from edge_es.pocket.abilities import ABILITIES, draw
from edge_es.pocket.tasks import TASKS
from edge_es.study import record
from edge_es.study.adapter import EdgeES
from edge_es.study.arms import merged
from edge_es.study.suites import retentions
from edge_es.study.tasks import material

Stream = Literal["clean", "same", "other"]
Attack = Literal["skill", "garbage", "prior"]
POISONED: tuple[Stream, ...] = ("same", "other")
ATTACKS: tuple[Attack, ...] = ("skill", "garbage", "prior")
SHARE = 0.2  # of all events that is adversarial
HONEST, FOREIGN = "honest", "foreign"  # source tags
EVERY = 10  # steps between two lines of progress

Say = Callable[[float, str], None]  # share of the evaluations that is spent, what is known


@dataclass(frozen=True)
class Run:
    """stream: clean, or poisoned with events whose source tag is the same as that of the honest ones, or another.
    attack: skill, the taught wording answered by another ability; garbage, answered by random letters; prior, requests
    of prior abilities answered wrongly. items: most that are read of a suite at the end; None: all. over: configuration
    keys."""

    stream: Stream
    attack: Attack
    seed: int
    evaluations: int
    share: float = SHARE
    items: int | None = None
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"clean-{self.seed}" if self.stream == "clean" else f"{self.stream}-{self.attack}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        """As the record keeps them; a clean stream is alike whatever the attack on others."""
        found = {**asdict(self), "over": dict(self.over or {})}
        return found | ({"attack": None, "share": 0.0} if self.stream == "clean" else {})


def runs(
    stream: Sequence[Stream], attack: Sequence[Attack], seed: Sequence[int], evaluations: int, **more: Any
) -> list[Run]:
    """Of each seed the clean run, then every attack in every stream. `more`: further fields of a run."""
    found = []
    for one in seed:
        found.append(Run("clean", attack[0], one, evaluations, **more))
        found += [Run(s, a, one, evaluations, **more) for s in stream for a in attack if s != "clean"]
    return found


def adversarial(attack: Attack, count: int, seed: int, source: str) -> list[Event]:
    """Wrong demonstrations, drawn by the seed from what is never tested."""
    rng = random.Random(f"poison {attack} {seed}")
    found = []
    for number in range(count):
        prompt, answer = _wrong(attack, rng)
        exchange = Exchange(Prompt.user(prompt), answer)
        found.append(Event(f"poison-{number}", "demonstration", (exchange,), tags={"source": source}))
    return found


def _wrong(attack: Attack, rng: random.Random) -> tuple[str, str]:
    alias = next(task for task in TASKS if task.name == "alias")
    if attack == "prior":
        item, other = (draw(rng.choice(ABILITIES[:-3]), "train", rng) for _ in range(2))
        return item.prompt, other.answer
    item = alias.draw("train", rng)
    if attack == "skill":
        return item.prompt, item.answer[::-1].upper()
    return item.prompt, "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=len(item.answer)))


def kept_run(base: Base, of: Run, folder: Path, say: Say = lambda share, state: None) -> dict[str, Any]:
    """The record FOLDER/NAME.json, made if there is none of these settings."""
    return record.made(folder / f"{of.name}.json", "run", of.settings(), lambda: learn(base, of, say))


def learn(base: Base, of: Run, say: Say = lambda share, state: None) -> dict[str, Any]:
    """The record: accuracy on the honest task, retention of every suite with exact answers, how many of the batches'
    events were adversarial, and which share of either kind was clipped."""
    config = load(None, merged(of.over or {}, {"search": {"seed": of.seed}}))
    it = material(base, "alias", of.seed, of.items)
    events = [replace(event, tags={"source": HONEST}) for event in it.events]
    if of.stream != "clean":
        count = round(len(events) * of.share / (1 - of.share))
        events += adversarial(of.attack, count, of.seed, HONEST if of.stream == "same" else FOREIGN)
    at = EdgeES(base, config, events, it.protected)
    number = 0
    while at.evaluations < of.evaluations:
        at.step()
        number += 1
        if number % EVERY == 0:
            score = it.task.measure(base, at.delta).score
            say(at.evaluations / of.evaluations, f"{of.name}, step {number}: task {score:.3f}")
    steps = [row for row in at.journal.rows() if row.kind == "step"]
    return {
        "run": of.settings(),
        "new_task": it.task.measure(base, at.delta).score,
        "retention": retentions(base, at.delta, it.priors),
        "steps": len(steps),
        "published": sum(row.reason is None for row in steps) / len(steps),
        "evaluations": at.evaluations,
        "norm": at.delta.norm(),
        "adversarial": {
            "events": sum(map(_adverse, (event.id for event in events))) / len(events),
            "in_batches": sum(_adverse(one) for row in steps for one in row.events) / sum(len(r.events) for r in steps),
        },
        "clipped": {"adversarial": _clipped(steps, True), "honest": _clipped(steps, False)},
    }


def _adverse(event_id: str) -> bool:
    return event_id.startswith("poison-")


def _clipped(steps: Sequence[Row], adverse: bool) -> float | None:
    """Share of the looks at events of one kind that were clipped; None where there was none."""
    looks = [
        place in row.stats["clipped"]
        for row in steps
        for place, one in enumerate(row.events)
        if _adverse(one) == adverse
    ]
    return sum(looks) / len(looks) if looks else None
