"""What there is to teach pocket: a new wording, a new form of answer, and a skill that it only half knows.

Training items come from the abilities' `train` part, test items from their `dev` part: disjoint by hash, and disjoint
from every probe item.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from edge_es.pocket.abilities import ABILITIES, WEAK, Ability, Item, draw

_BY_NAME = {a.name: a for a in (*ABILITIES, *WEAK)}
ALIAS_FORM = "Zorp the letters of {}."
STYLE_UNIT = "m"
WEAK_SKILL = "subtract"


@dataclass(frozen=True)
class Task:
    """`change` turns an item of `ability` into an item of the task."""

    name: str
    ability: Ability
    change: Callable[[Item], Item]

    def draw(self, part: str, rng: random.Random) -> Item:
        """A random item of the task; `part` is `train` or `dev`."""
        return self.change(draw(self.ability, part, rng))


def _alias(item: Item) -> Item:
    return Item(ALIAS_FORM.format(item.answer[::-1]), item.answer, item.key)


def _style(item: Item) -> Item:
    return Item(item.prompt, item.answer + STYLE_UNIT, item.key)


TASKS: tuple[Task, ...] = (
    Task("alias", _BY_NAME["reverse"], _alias),
    Task("style", _BY_NAME["add"], _style),
    Task("weak_skill", _BY_NAME[WEAK_SKILL], lambda item: item),
)
