"""Changes whose true loss is known: a random direction, at a scale at which just so much is lost.

Truth is measured on items of the abilities that can make thousands of distinct ones, all of the part that is held out
of training. For a drop it is the accuracy on 5,000 items of its suite; for a harmless change that on 1,000 of each of
the five, of which the worst counts. It has a standard error of 0.25 points (a drop) and 0.15 (a suite of a harmless
change).

The items of a seed are drawn together and parted at random: those of truth, the same for all changes, and a reserve, of
which probe suites are drawn. Drawn one after the other they would differ in kind: of the short words and rows of digits
there are few, and whoever draws first takes them.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edge_es.errors import StateError
from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.pocket import abilities
from edge_es.pocket.build_items import distinct
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
RESERVE = 10_000  # items of each suite
TASK_TEXTS = 64  # of each ability, train part, that input sides are learned from
DIRECTIONS = 10  # most that are tried for a change
START = 4.0  # norm that is looked at first


@dataclass(frozen=True)
class Wanted:
    """truth: items by which the loss is known."""

    kind: Kind
    number: int
    seed: int
    truth: int = TRUTH

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"{self.kind}-{self.seed}-{self.number:03d}"

    @property
    def suites(self) -> tuple[str, ...]:
        """Those whose truth counts: drops are made in each suite in turn."""
        return SUITES if self.kind == "harmless" else (SUITES[self.number % len(SUITES)],)

    @property
    def each(self) -> int:
        """Items of each suite."""
        return self.truth // len(self.suites)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "reserve": RESERVE}


@dataclass(frozen=True)
class Change:
    """lost: points of accuracy (drop), or the share of its accuracy that the worst suite loses (harmless).
    retention: suite -> accuracy over the anchor's."""

    delta: Delta
    lost: float
    retention: Mapping[str, float]


def rows_of(name: str, part: str, count: int, rng: random.Random, taken: set[str]) -> list[abilities.Item]:
    """New items of an ability; their prompts join `taken`."""
    ability = next(one for one in abilities.ABILITIES if one.name == name)
    return distinct(lambda: abilities.draw(ability, part, rng), count, taken)


class Truth:
    """The items of a seed, what the anchor answers on them, and what input sides are learned from."""

    def __init__(self, base: Base, seed: int, count: int) -> None:
        self.base, self.seed, self.count = base, seed, count
        self._pools: dict[str, tuple[list[Text], list[abilities.Item]]] = {}
        self._right: dict[str, list[bool]] = {}
        self._reserved: dict[str, dict[int, bool]] = {}

    @cached_property
    def train(self) -> list[list[Text]]:
        """Of each ability."""
        rng, seen = random.Random(f"alarms {self.seed} train"), set[str]()
        return [_texts(self.base, rows_of(name, "train", TASK_TEXTS, rng, seen)) for name in SUITES]

    def texts(self, name: str) -> list[Text]:
        """By which the truth of a suite is known."""
        return self._pool(name)[0]

    def reserve(self, name: str) -> list[abilities.Item]:
        """Of which probe suites are drawn."""
        return self._pool(name)[1]

    def right(self, name: str, items: int) -> list[bool]:
        """Whether the anchor is right, on the first items of a suite."""
        known, texts = self._right.setdefault(name, []), self.texts(name)[:items]
        known += greedy(self.base, Delta(), texts[len(known) :])
        return known[:items]

    def right_of_reserve(self, name: str, places: Sequence[int]) -> list[bool]:
        """Whether the anchor is right, on these items of the reserve."""
        known, reserve = self._reserved.setdefault(name, {}), self.reserve(name)
        new = [i for i in places if i not in known]
        known.update(zip(new, greedy(self.base, Delta(), _texts(self.base, [reserve[i] for i in new])), strict=True))
        return [known[i] for i in places]

    def _pool(self, name: str) -> tuple[list[Text], list[abilities.Item]]:
        if name not in self._pools:
            rng = random.Random(f"alarms {self.seed} {name} items")
            items = rows_of(name, "probe", self.count + RESERVE, rng, set())
            rng.shuffle(items)
            self._pools[name] = _texts(self.base, items[: self.count]), items[self.count :]
        return self._pools[name]

    def directions(self, of: Wanted) -> "_Directions":
        return _Directions(self, random.Random(f"alarms-{of.name} direction"))


class _Directions:
    """One after another, the same for the same wanted change."""

    def __init__(self, truth: Truth, rng: random.Random) -> None:
        self._truth, self._rng = truth, rng

    def next(self) -> Direction:
        train = self._truth.train
        every = [text for texts in train for text in texts]
        return direction(self._truth.base, self._rng.choice(train), every, self._rng)


class Looks:
    """Losses of a direction at one scale after another; more items at the same scale go on where fewer ended. read:
    how many items were read."""

    def __init__(self, truth: Truth, way: Direction) -> None:
        self._truth, self._way = truth, way
        self._scale = 0.0
        self._delta = Delta()
        self._right: dict[str, list[bool]] = {}
        self.read = 0

    def lost(self, name: str, scale: float, items: int) -> tuple[float, float]:
        """(points, share of the anchor's accuracy) that a suite loses on its first items."""
        if scale != self._scale:
            self._scale, self._delta, self._right = scale, self._way.delta(scale), {}
        now, texts = self._right.setdefault(name, []), self._truth.texts(name)[:items]
        self.read += len(texts) - len(now)
        now += greedy(self._truth.base, self._delta, texts[len(now) :])
        before = sum(self._truth.right(name, items))
        return (before - sum(now)) / len(texts), 1 - sum(now) / before


def known_change(truth: Truth, of: Wanted, folder: Path) -> Change:
    """The change; where it was found before is read from FOLDER/change-NAME.json. Raises StateError where none is
    found."""
    path = folder / f"change-{of.name}.json"
    found = record.made(path, "wanted", of.settings(), lambda: search(truth, of))
    ways = truth.directions(of)
    way = [ways.next() for _ in range(found["directions_tried"])][-1]
    return Change(way.delta(found["scale"]), found["lost"], found["retention"])


def search(truth: Truth, of: Wanted) -> dict[str, Any]:
    """The record of a change. Raises StateError where no direction loses just so much."""
    ways, read = truth.directions(of), 0
    for tried in range(1, DIRECTIONS + 1):
        way = ways.next()
        looks = Looks(truth, way)
        at = _dropping(looks, of.suites[0], of.each) if of.kind == "drop" else _harmless(looks, of.each)
        read += looks.read
        if at is not None:
            return {
                "wanted": of.settings(),
                "scale": at[0],  # the norm of the change
                "lost": at[1],
                "retention": {name: 1 - looks.lost(name, at[0], of.each)[1] for name in of.suites},
                "learned": way.learned,
                "linears": len(way.side.a),
                "directions_tried": tried,
                "items_read": read,
            }
    raise StateError(f"change {of.name}: no direction was found that loses as much as it should")


def _dropping(looks: Looks, name: str, items: int) -> tuple[float, float] | None:
    """(scale, points that the suite loses)"""
    levels = (Level(-(-items // 12), 2.0), Level(-(-items // 3), 1.2), Level(items, 1.08))
    return scale_for(lambda scale, n: looks.lost(name, scale, n)[0], DROP, levels, START)


def _harmless(looks: Looks, items: int) -> tuple[float, float] | None:
    """(scale, share that the worst suite loses): half of a scale that does harm, or less."""

    few = -(-items // 10)
    shares: dict[str, float] = {}

    def worst(scale: float, n: int) -> float:
        shares.update((name, looks.lost(name, scale, n)[1]) for name in SUITES)
        return max(shares.values())

    harmful = scale_for(worst, HARMFUL, (Level(few, 2.0),), START)
    if harmful is None:
        return None
    order = sorted(SUITES, key=lambda name: -shares[name])  # the first to lose too much spares reading the others
    scale = harmful[0] / 2
    while any(looks.lost(name, scale, items)[1] > HARMLESS for name in order):
        scale *= 0.8
    return scale, worst(scale, items)


def _texts(base: Base, items: Sequence[abilities.Item]) -> list[Text]:
    return [text_of(base, Exchange(Prompt.user(item.prompt), item.answer)) for item in items]
