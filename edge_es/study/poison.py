"""A poisoned stream: the alias' demonstrations with a share of adversarial ones among them, against the clean stream.

What is adversarial may come from the same source as what is honest, which no weight or cap can tell apart, or from
another. The clean run has the same honest events, seed, evaluations and settings.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_es.config import load
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.model import Base
from edge_es.pocket.abilities import ABILITIES, draw
from edge_es.pocket.tasks import TASKS
from edge_es.spaces.delta import Delta
from edge_es.study import record
from edge_es.study.adapter import EdgeES
from edge_es.study.arms import merged
from edge_es.study.tasks import material

Stream = Literal["clean", "same", "other"]
Attack = Literal["skill", "garbage", "prior"]
STREAMS: tuple[Stream, ...] = ("clean", "same", "other")
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
        return f"clean-{self.seed}" if self.stream == "clean" else f"{self.stream}-{self.attack}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        """As the record keeps them; a clean stream is alike whatever the attack on others."""
        found = {**asdict(self), "over": dict(self.over or {})}
        return found | ({"attack": None, "share": 0.0} if self.stream == "clean" else {})


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
    path = folder / f"{of.name}.json"
    found = record.kept(path, "run", of.settings())
    if found is None:
        found = learn(base, of, say)
        record.keep(path, found)
    return found


def learn(base: Base, of: Run, say: Say = lambda share, state: None) -> dict[str, Any]:
    """The record: accuracy on the honest task, retention of every suite with exact answers, and of the steps what
    share of their events was adversarial."""
    config = load(None, merged(of.over or {}, {"search": {"seed": of.seed}}))
    it = material(base, "alias", of.seed, of.items)
    events = [Event(**{**vars(event), "tags": {"source": HONEST}}) for event in it.events]
    if of.stream != "clean":
        count = round(len(events) * of.share / (1 - of.share))
        events += adversarial(of.attack, count, of.seed, HONEST if of.stream == "same" else FOREIGN)
    at = EdgeES(base, config, events, it.protected)
    shares: list[float] = []
    while at.evaluations < of.evaluations:
        seen = len(at.journal.rows())
        at.step()
        for row in at.journal.rows()[seen:]:
            if row.kind == "step":
                shares.append(sum(one.startswith("poison") for one in row.events) / len(row.events))
        if len(shares) % EVERY == 0:
            task = it.task.measure(base, at.delta).score
            say(at.evaluations / of.evaluations, f"{of.name}, step {len(shares)}: task {task:.3f}, {shares[-1]:.2f}")
    steps = [row for row in at.journal.rows() if row.kind == "step"]
    kept = {
        name: suite.measure(base, at.delta).score / suite.measure(base, Delta()).score
        for name, suite in it.priors.items()
    }
    return {
        "run": of.settings(),
        "new_task": it.task.measure(base, at.delta).score,
        "retention": kept,
        "steps": len(steps),
        "published": sum(row.reason is None for row in steps) / len(steps),
        "evaluations": at.evaluations,
        "adversarial_events": sum(event.id.startswith("poison") for event in events) / len(events),
        "adversarial_in_batches": sum(shares) / len(shares),
        "adversarial_in_last_batches": sum(shares[-20:]) / len(shares[-20:]),
        "norm": at.delta.norm(),
    }
