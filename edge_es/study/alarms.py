"""False alarms and misses of the probes' verdict, on changes whose true loss is known.

A harmless trial is a change, not zero, by which no suite loses more than 0.5% of its accuracy; a false alarm is a
verdict `dropped` for any suite, which in a daemon is a rollback. A drop is a change by which one suite loses 2.5 to
3.5 points; it is missed where that suite's verdict is another.

Suites and truth are of the abilities that can make thousands of distinct items, all of the part that is held out of
training. A suite's probe items are made anew for each trial. What is true is measured on 5,000 further items, made
once for all trials of a seed, none of them among any trial's probe items: for a drop 5,000 of its suite; for a harmless
change 1,000 of each of the five, of which each must keep at least 0.995 of the anchor's accuracy. Truth itself has a
standard error of 0.25 points (a drop) and 0.15 (a harmless change's suite).

The verdict is that of a probe round (`retention.probe_round`) against the anchor's scores.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edge_es.config import Config
from edge_es.errors import StateError
from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.pocket import abilities
from edge_es.pocket.build_items import distinct
from edge_es.probes.scoring import Encoded, encode
from edge_es.probes.suites import Item, Suite
from edge_es.retention import probe_round
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study import record
from edge_es.study.directions import Direction, direction
from edge_es.study.reading import greedy
from edge_es.study.scale import Level, scale_for

Kind = Literal["harmless", "drop"]
KINDS: tuple[Kind, ...] = ("harmless", "drop")
SUITES = ("reverse", "sort", "count", "uppercase", "letters")
HARMLESS = 0.005  # most that any suite loses of its accuracy
HARMFUL = (0.03, 0.12)  # what a harmless change is halved from, so that it is not one that does nothing
DROP = (0.025, 0.035)  # points of accuracy
TRUTH = 5000
DIRECTIONS = 10  # most that are tried for a trial
START = 4.0  # norm of a change that is looked at first
TASK_TEXTS = 64  # of each ability, train part, that input sides are learned from
BATCH_TOKENS = 1024  # of a probe round: small batches of this small model are quicker, and scores do not depend on it


@dataclass(frozen=True)
class Trial:
    """items: of each probe suite. truth: items by which it is known. over: configuration keys."""

    kind: Kind
    number: int
    seed: int
    items: int = 800
    truth: int = TRUTH
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"alarms-{self.kind}-{self.seed}-{self.number:03d}"

    @property
    def suite(self) -> str:
        """The one that a drop is made in: each in turn."""
        return SUITES[self.number % len(SUITES)]

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "over": dict(self.over or {})}


def rows_of(name: str, part: str, count: int, rng: random.Random, taken: set[str]) -> list[abilities.Item]:
    """New items of an ability; their prompts join `taken`."""
    ability = next(one for one in abilities.ABILITIES if one.name == name)
    return distinct(lambda: abilities.draw(ability, part, rng), count, taken)


class Truth:
    """What the anchor answers on the items by which truth is known, and what input sides are learned from; made once.
    right: suite -> whether the anchor is right on each."""

    def __init__(self, base: Base, seed: int, count: int) -> None:
        self.base = base
        self.taken: set[str] = set()
        self.texts: dict[str, list[Text]] = {}
        for name in SUITES:
            items = rows_of(name, "probe", count, random.Random(f"alarms {seed} {name} truth"), self.taken)
            self.texts[name] = _texts(base, items)
        self.right = {name: greedy(base, Delta(), texts) for name, texts in self.texts.items()}
        rng, seen = random.Random(f"alarms {seed} train"), set[str]()
        self.train = [_texts(base, rows_of(name, "train", TASK_TEXTS, rng, seen)) for name in SUITES]

    @cached_property
    def protected(self) -> list[Text]:
        return [text for texts in self.train for text in texts]

    def looks(self, way: Direction) -> "Looks":
        return Looks(self, way)


class Looks:
    """Accuracy of a direction at one scale after another; more items at the same scale go on where fewer ended."""

    def __init__(self, truth: Truth, way: Direction) -> None:
        self._truth, self._way = truth, way
        self._scale = 0.0
        self._delta = Delta()
        self._right: dict[str, list[bool]] = {}
        self.read = 0

    def lost(self, name: str, scale: float, items: int) -> tuple[float, float]:
        """(points, share of the anchor's accuracy) that a suite loses on the first items."""
        if scale != self._scale:
            self._scale, self._delta, self._right = scale, self._way.delta(scale), {}
        now, texts = self._right.setdefault(name, []), self._truth.texts[name][:items]
        self.read += len(texts) - len(now)
        now += greedy(self._truth.base, self._delta, texts[len(now) :])
        before = sum(self._truth.right[name][:items])
        return (before - sum(now)) / len(texts), 1 - sum(now) / before


def suites(base: Base, trial: Trial, taken: set[str]) -> list[Encoded]:
    """Probe suites of this trial alone, none of whose items is in `taken`: for a drop, that of its suite."""
    rng, own = random.Random(f"{trial.name} items"), set(taken)
    found = []
    for name in SUITES if trial.kind == "harmless" else (trial.suite,):
        items = [Item(Prompt.user(i.prompt), i.answer) for i in rows_of(name, "probe", trial.items, rng, own)]
        found.append(encode(base, Suite(name, "generation", tuple(items))))
    return found


def run_trial(truth: Truth, trial: Trial, config: Config) -> dict[str, Any]:
    """Its record. Raises StateError where no change with such a loss is found."""
    base, rng = truth.base, random.Random(f"{trial.name} direction")
    names = SUITES if trial.kind == "harmless" else (trial.suite,)
    each = trial.truth // len(names)
    read = tried = 0
    at = None
    while at is None and tried < DIRECTIONS:
        tried += 1
        way = direction(base, rng.choice(truth.train), truth.protected, rng)
        looks = truth.looks(way)
        at = _dropping(looks, trial.suite, each) if trial.kind == "drop" else _harmless(looks, each)
        read += looks.read
    if at is None:
        raise StateError(f"{trial.name}: no change was found that loses as much as it should")
    scale, lost = at
    probes = suites(base, trial, truth.taken)
    reference = {one.suite.name: [float(x) for x in greedy(base, Delta(), one.texts)] for one in probes}
    round_ = run(
        probe_round(
            base,
            way.delta(scale),
            1,
            probes,
            lambda suite: {suite.name: reference[suite.name]},
            config.probes,
            replace(OPEN, slice_tokens=BATCH_TOKENS),
        )
    )
    results = [one for one in round_.results if one.kind == "generation"]
    return {
        "trial": trial.settings(),
        "lost": lost,
        "true_retention": {name: 1 - looks.lost(name, scale, each)[1] for name in names},
        "learned": way.learned,
        "linears": len(way.side.a),
        "norm": way.delta(scale).norm(),
        "directions_tried": tried,
        "items_read": read,
        "dropped": [one.suite for one in round_.dropped],
        "suites": {
            one.suite: {
                "verdict": one.verdict,
                "retention": one.retention,
                **_places(reference[one.suite], round_.scores[one.suite]),
            }
            for one in results
        },
    }


def _dropping(looks: Looks, name: str, items: int) -> tuple[float, float] | None:
    """(scale, points that the suite loses)"""
    levels = (Level(-(-items // 12), 2.0), Level(-(-items // 3), 1.2), Level(items, 1.08))
    return scale_for(lambda scale, n: looks.lost(name, scale, n)[0], DROP, levels, START)


def _harmless(looks: Looks, items: int) -> tuple[float, float] | None:
    """(scale, share that the worst suite loses): half of a scale that does harm, or less."""

    def worst(scale: float, n: int) -> float:
        return max(looks.lost(name, scale, n)[1] for name in SUITES)

    harmful = scale_for(worst, HARMFUL, (Level(-(-items // 10), 2.0),), START)
    if harmful is None:
        return None
    scale = harmful[0] / 2
    while (lost := worst(scale, items)) > HARMLESS:
        scale *= 0.8
    return scale, lost


def kept_trials(
    base: Base, trials: Sequence[Trial], folder: Path, config: Config
) -> Iterator[tuple[Trial, dict[str, Any]]]:
    """Each with its record, FOLDER/NAME.json; those that were made before are not run again."""
    truth: Truth | None = None
    of: tuple[int, int] | None = None
    for trial in trials:
        path = folder / f"{trial.name}.json"
        found = record.kept(path, "trial", trial.settings())
        if found is None:
            if truth is None or of != (trial.seed, trial.truth):
                truth, of = Truth(base, trial.seed, trial.truth), (trial.seed, trial.truth)
            found = run_trial(truth, trial, config)
            record.keep(path, found)
        yield trial, found


def scores_of(places: Mapping[str, list[int]], items: int) -> tuple[list[float], list[float]]:
    """A suite's scores in a record, now and the anchor's, so that a changed rule needs no new trials."""
    before = [1.0] * items
    for i in (*places["missed"], *places["won"]):
        before[i] = 0.0
    now = list(before)
    for i in places["lost"]:
        now[i] = 0.0
    for i in places["won"]:
        now[i] = 1.0
    return now, before


def _places(before: Sequence[float], now: Sequence[float]) -> dict[str, list[int]]:
    """Which items both missed, which were lost and which won; all others both have right."""
    both = list(enumerate(zip(before, now, strict=True)))
    return {
        "missed": [i for i, (b, n) in both if b == n == 0],
        "lost": [i for i, (b, n) in both if n < b],
        "won": [i for i, (b, n) in both if n > b],
    }


def _texts(base: Base, items: Sequence[abilities.Item]) -> list[Text]:
    return [text_of(base, Exchange(Prompt.user(item.prompt), item.answer)) for item in items]
