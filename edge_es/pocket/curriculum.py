"""The training run as data: its phases, the mix of each, and the two abilities whose form changed on the way.

What the phases show: the rate of the first is too high for facts and for the calendar (they came as soon as it fell);
counting one letter's occurrences was not learned in 1,800 steps (counting all letters was, within 150); a wording
that begins with the number is memorized question by question and does not carry over to held-out questions.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_es.pocket import facts
from edge_es.pocket.abilities import (
    ABILITIES,
    CALENDAR_FORMS,
    LETTERS,
    SMALL_TALK,
    WEAK,
    Ability,
    Item,
    calendar,
    word,
)


def count_occurrences(rng: random.Random) -> Item:
    """How often a letter occurs in a word; only trained on in the first phases."""
    letters = rng.sample(LETTERS, 3)
    w = "".join(rng.choices(letters, k=rng.randrange(3, 7))) if rng.random() < 0.75 else word(rng)
    c = rng.choice(w) if rng.random() < 0.8 else rng.choice(LETTERS)
    form = rng.choice(("How many times is {} in {}?", "Count the letter {} in {}.", "How often does {} occur in {}?"))
    return Item(form.format(c, w), str(w.count(c)), f"count:{c},{w}")


def fact_by_kind(rng: random.Random) -> Item:
    """A fact, each kind as often as the others: the small kinds are the last to be known in every wording."""
    kind = rng.choice(sorted(facts.CORES))
    _, subject, answer = rng.choice([f for f in facts.FACTS if f[0] == kind])
    return Item(facts.ask(kind, subject, rng.choice(facts.TRAINED)), answer, f"fact:{subject}")


NUMBER_FIRST = "{1} {0}{2} {3} {4} is which {0}?"


def mix_with(**changed: Ability) -> tuple[Ability, ...]:
    """The training mix with some abilities in another form."""
    return tuple(changed.get(a.name, a) for a in (*ABILITIES, *WEAK, SMALL_TALK))


FINAL = mix_with()
EARLY = mix_with(
    count=Ability("count", count_occurrences, 1.5),
    calendar=Ability("calendar", calendar((*CALENDAR_FORMS[:3], NUMBER_FIRST), most_days=20), 2.0, probe_share=25),
)
MIDDLE = mix_with(
    calendar=Ability("calendar", calendar((*CALENDAR_FORMS[:3], NUMBER_FIRST, CALENDAR_FORMS[3])), 2.5, probe_share=25)
)

LAST = mix_with(facts=Ability("facts", fact_by_kind, 1.5, probe_share=0))


@dataclass(frozen=True)
class Phase:
    """The first `steps` of a `planned` schedule, whose rates fall linearly to 0 over its last `cooldown` share.

    seed: added to the run's seed for the data. nf4_from: share of the planned steps after which the forward pass sees
    NF4 weights. boost: factors on the mix. wrapped: share of the requests behind "Please," and the like.
    """

    steps: int
    planned: int
    seed: int
    lr_muon: float
    lr_adam: float
    cooldown: float
    nf4_from: float
    mix: tuple[Ability, ...]
    boost: Mapping[str, float] = field(default_factory=dict)
    wrapped: float = 0.0


_SLOW = {"uppercase": 1.5, "small_talk": 2.0, "count": 1.3}
_HARD = {"add": 2.5, "compare": 1.5, "reverse": 1.3, "uppercase": 1.2, "facts": 4.0}
_LAST = {"uppercase": 1.5, "compare": 1.5, "calendar": 1.5, "reverse": 1.3}
PHASES = (
    Phase(1350, 2800, 0, lr_muon=0.02, lr_adam=3e-3, cooldown=0.6, nf4_from=0.75, mix=EARLY),
    Phase(450, 1800, 1, lr_muon=0.01, lr_adam=2e-3, cooldown=1.0, nf4_from=0.75, mix=EARLY, boost=_SLOW),
    Phase(1050, 1700, 1, lr_muon=0.008, lr_adam=1.6e-3, cooldown=1.0, nf4_from=0.75, mix=MIDDLE, boost=_SLOW),
    Phase(900, 900, 2, lr_muon=0.005, lr_adam=1e-3, cooldown=1.0, nf4_from=0.6, mix=FINAL, boost=_LAST),
    Phase(900, 900, 3, lr_muon=0.004, lr_adam=8e-4, cooldown=1.0, nf4_from=0.0, mix=LAST, boost=_HARD, wrapped=0.15),
)
