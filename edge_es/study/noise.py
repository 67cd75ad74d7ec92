"""Learning from noise: ratings that a coin gives to the model's own answers. Nothing is to be learned from them.

As in a daemon, new events keep coming and old ones go. The stream `honest` is the alias, whose steps are to be
published. What a gate sees at each step is kept, so that gates can be designed from the records.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_es.answers import Row, Sampling
from edge_es.config import load
from edge_es.decode import generate
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row as LedgerRow
from edge_es.model import Base, encode_prompt
from edge_es.pocket.abilities import ABILITIES, draw
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study import record
from edge_es.study.adapter import EdgeES
from edge_es.study.arms import merged
from edge_es.study.suites import retentions
from edge_es.study.tasks import material

Stream = Literal["noise", "honest"]
NEW, EVERY, BUFFER = 32, 4, 512  # events that come in, each so many steps, and the newest that are learned from
TEMPERATURE = 2.0  # at which about one answer in six is wrong
MOST_TOKENS = 48
METRIC = "thumbs"
STEPS: Mapping[Stream, int] = {"noise": 1000, "honest": 200}

Say = Callable[[int, str], None]  # steps done, what is known


@dataclass(frozen=True)
class Run:
    """items: most that are read of a suite at the end; None: all. over: configuration keys."""

    stream: Stream
    seed: int
    steps: int
    items: int | None = None
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"{self.stream}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "over": dict(self.over or {})}


class Coin:
    """Rates answers that the anchor gives to prompts of the abilities' train part, up or down by chance.

    rated: how many by now; up: how many of them up; right: how many of those that have one exact answer gave it.
    """

    def __init__(self, base: Base, seed: int) -> None:
        self._base, self._rng = base, random.Random(f"noise {seed}")
        self.rated = self.up = self.exact = self.right = 0

    @property
    def centre(self) -> float:
        """Mean rating so far, which the daemon's store knows."""
        return self.up / max(1, self.rated)

    def events(self, count: int) -> list[Event]:
        """New ones, with answers sampled at TEMPERATURE."""
        rng = self._rng
        items = [draw(rng.choice(ABILITIES), "train", rng) for _ in range(count)]
        prompts = [Prompt.user(item.prompt) for item in items]
        rows = [
            Row(encode_prompt(self._base, p), Delta(), Sampling(MOST_TOKENS, TEMPERATURE, seed=rng.getrandbits(63)))
            for p in prompts
        ]
        answers = run(generate(self._base, rows))
        found = []
        for item, prompt, answer in zip(items, prompts, answers, strict=True):
            thumb = rng.random() < 0.5
            exchange = Exchange(prompt, answer.text, answer.finish == "stop")
            found.append(Event(f"noise-{self.rated}", "rating", (exchange,), METRIC, float(thumb)))
            self.rated, self.up = self.rated + 1, self.up + thumb
            if item.topic is None:
                self.exact, self.right = self.exact + 1, self.right + (answer.text == item.answer)
        return found


def kept_run(base: Base, of: Run, folder: Path, say: Say = lambda steps, state: None) -> dict[str, Any]:
    """The record FOLDER/NAME.json, made if there is none of these settings."""
    return record.made(folder / f"{of.name}.json", "run", of.settings(), lambda: learn(base, of, say))


def learn(base: Base, of: Run, say: Say = lambda steps, state: None) -> dict[str, Any]:
    """The record: shares, retention of every suite with exact answers, and every step in short."""
    config = load(None, merged(of.over or {}, {"search": {"seed": of.seed}}))
    it = material(base, "alias", of.seed, of.items)
    coin = Coin(base, of.seed)
    at = EdgeES(base, config, it.events if of.stream == "honest" else (), it.protected)
    steps: list[dict[str, Any]] = []
    for number in range(of.steps):
        if of.stream == "noise" and number % EVERY == 0:
            # The first steps have as much to draw from as later ones, as after a daemon's `min_events`.
            events = coin.events(NEW if number else max(NEW, config.learn.min_events))
            at.receive(events, keep=BUFFER, centres={METRIC: coin.centre})
        seen = len(at.journal.rows())
        at.step()
        steps += [_told(row) for row in at.journal.rows()[seen:] if row.kind == "step"]
        published = sum(step["reason"] is None for step in steps)
        if number % 10 == 9 or number + 1 == of.steps:
            say(number + 1, f"{of.name}, step {number + 1}: {published / len(steps):.1%} published")
    return {
        "run": of.settings(),
        **_shares(steps),
        **_norms([step["norm"] for step in steps], at.delta.norm()),
        "walk_ratio": at.delta.norm() / at.walk**0.5 if at.walk > 0 else None,
        "retention": retentions(base, at.delta, it.priors),
        "new_task": it.task.measure(base, at.delta).score if of.stream == "honest" else None,
        "rated": coin.rated,
        "answers_right": coin.right / coin.exact if coin.exact else None,
        "steps": steps,
    }


def _told(row: LedgerRow) -> dict[str, Any]:
    keys = ("fitness_reliability", "tie_rate", "kl", "step_norm")
    return {
        "reason": row.reason,
        "norm": row.stats.get("delta_norm"),
        **{key: row.stats.get(key) for key in keys},
        "alpha": float.fromhex(row.alpha),
    }


def _shares(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Share of the steps that were published, and rejections by their reason up to its first number."""
    rejections: dict[str, int] = {}
    for step in steps:
        if step["reason"] is not None:
            reason = re.split(r"-?\d", step["reason"])[0].strip()
            rejections[reason] = rejections.get(reason, 0) + 1
    return {"published": 1 - sum(rejections.values()) / len(steps), "rejections": rejections}


def _norms(norms: list[float | None], last: float) -> dict[str, Any]:
    """The delta's norm at the end and at most, and by which factor it grew since the middle of the run: a walk without
    end grows by the root of 2 there. None where it had not moved by then."""
    at, filled = 0.0, []
    for norm in norms:
        at = at if norm is None else norm
        filled.append(at)
    middle = filled[(len(filled) - 1) // 2]
    return {"norm": last, "norm_most": max(filled), "norm_growth": last / middle if middle > 0 else None}
