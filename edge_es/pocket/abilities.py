"""What pocket can do: each ability makes random items, and a hash of an item's content says if it is held out.

`key` is what must not be seen in training (for a sum, the unordered pair, whatever the wording); `part_of(key)` is
`probe`, `dev` (steers the training mix) or `train`, so the three are disjoint by construction.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from edge_es.pocket import facts, grammar

_ENGLISH = (
    "apple bread chair dance eagle fruit grape house input jelly knife lemon money night ocean paper queen river "
    "stone table uncle voice water youth zebra book cake door fish gold hand iron jump king lamp moon nest open "
    "park rain salt tree user view wind yard zero cat dog sun sky map hat pen cup box key bus car hello world "
    "letter planet garden silver butter winter summer banana orange pepper coffee cheese planes school"
)
COMMON = tuple(_ENGLISH.split())
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One request. `topic` is set where many answers are right (then `answer` is one of them)."""

    prompt: str
    answer: str
    key: str
    topic: grammar.Topic | None = None


@dataclass(frozen=True)
class Ability:
    """`make` draws an item; `weight` is its share of the training mix; `probe_share` the percentage held out."""

    name: str
    make: Callable[[random.Random], Item]
    weight: float
    probe_share: int = 10


def part_of(key: str, probe_share: int = 10) -> str:
    """`probe`, `dev` or `train`, by the key's hash."""
    slot = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    return "probe" if slot < probe_share else "dev" if slot < probe_share + 4 else "train"


def word(rng: random.Random) -> str:
    """3 to 6 letters: one time in four an English word, otherwise random."""
    if rng.random() < 0.25:
        return rng.choice(COMMON)
    return "".join(rng.choices(LETTERS, k=rng.randrange(3, 7)))


def on_word(name: str, phrasings: tuple[str, ...], answer: Callable[[str], str]) -> Callable[[random.Random], Item]:
    """An ability that maps a word to a string."""

    def make(rng: random.Random) -> Item:
        w = word(rng)
        return Item(rng.choice(phrasings).format(w), answer(w), f"{name}:{w}")

    return make


def add(rng: random.Random) -> Item:
    """A sum of two numbers under 100; both orders are one key."""
    a, b = rng.randrange(100), rng.randrange(100)
    form = rng.choice(("What is {}+{}?", "What is {} plus {}?", "Add {} and {}.", "{}+{}="))
    return Item(form.format(a, b), str(a + b), f"add:{min(a, b)},{max(a, b)}")


def subtract(rng: random.Random) -> Item:
    """A difference of two numbers under 100 that is not negative."""
    a, b = sorted((rng.randrange(100), rng.randrange(100)))
    form = rng.choice(("What is {1}-{0}?", "What is {1} minus {0}?", "Subtract {0} from {1}.", "{1}-{0}="))
    return Item(form.format(a, b), str(b - a), f"subtract:{a},{b}")


def compare(rng: random.Random) -> Item:
    """The larger or the smaller of two numbers under 100."""
    a, b = rng.sample(range(100), 2)
    larger = rng.random() < 0.5
    form = rng.choice(("Which is {}, {} or {}?", "What is the {} of {} and {}?", "Name the {} number: {} or {}."))
    prompt = form.format("larger" if larger else "smaller", a, b)
    return Item(prompt, str(max(a, b) if larger else min(a, b)), f"compare:{min(a, b)},{max(a, b)}")


def sort(rng: random.Random) -> Item:
    """3 to 5 digits in rising order."""
    digits = rng.choices("0123456789", k=rng.randrange(3, 6))
    done = sorted(digits)
    form = rng.choice(("Sort {}.", "Put {} in order.", "Sort the digits {}."))
    return Item(form.format(" ".join(digits)), " ".join(done), "sort:" + "".join(done))


def count(rng: random.Random) -> Item:
    """Letters of a word of 2 to 9 letters."""
    w = rng.choice(COMMON) if rng.random() < 0.2 else "".join(rng.choices(LETTERS, k=rng.randrange(2, 10)))
    form = rng.choice(("How many letters are in {}?", "Count the letters of {}.", "How long is the word {}?"))
    return Item(form.format(w), str(len(w)), f"count:{w}")


CALENDAR_FORMS = (
    "What {0} is {1} {0}{2} {3} {4}?",
    "Which {0} comes {1} {0}{2} {3} {4}?",
    "Name the {0} {1} {0}{2} {3} {4}.",
    "Tell me the {0} {1} {0}{2} {3} {4}.",
    "Say which {0} is {1} {0}{2} {3} {4}.",
)


def calendar(forms: tuple[str, ...] = CALENDAR_FORMS, most_days: int = 10) -> Callable[[random.Random], Item]:
    """Days and months before and after. The key is the whole question, so the share held out is of questions.

    A combination whose question is held out in one wording may be trained on in another.
    """

    def make(rng: random.Random) -> Item:
        days = rng.random() < 0.4
        names, unit, top = (WEEKDAYS, "day", most_days) if days else (MONTHS, "month", 11)
        n, i, after = rng.randrange(1, top + 1), rng.randrange(len(names)), rng.random() < 0.5
        prompt = rng.choice(forms).format(unit, n, "" if n == 1 else "s", "after" if after else "before", names[i])
        return Item(prompt, names[(i + (n if after else -n)) % len(names)], f"calendar:{prompt}")

    return make


def fact(rng: random.Random) -> Item:
    """A fact in one of the wordings that are trained."""
    kind, subject, answer = rng.choice(facts.FACTS)
    return Item(facts.ask(kind, subject, rng.choice(facts.TRAINED)), answer, f"fact:{subject}")


def sentence(rng: random.Random) -> Item:
    """A sentence of the grammar about a subject; any such sentence is right."""
    subject, other = rng.sample(grammar.NOUNS, 2)
    topic = grammar.Topic(subject, rng.random() < 0.4, other)
    form = rng.choice(("Write a sentence about {}.", "Make a sentence with {}.", "Say something about {}."))
    return Item(form.format(topic.phrase), grammar.generate(topic, rng), f"sentence:{topic.phrase}", topic)


def small_talk(rng: random.Random) -> Item:
    """A greeting or a question about the model itself."""
    prompt, answer = rng.choice(facts.SMALL_TALK)
    return Item(prompt, answer, prompt)


def edge_letter(rng: random.Random) -> Item:
    """The first or the last letter of a word."""
    w, last = word(rng), rng.random() < 0.5
    form = rng.choice(("What is the {} letter of {}?", "Name the {} letter of {}.", "Give the {} letter of {}."))
    return Item(form.format("last" if last else "first", w), w[-1] if last else w[0], f"letter:{w}")


REVERSE = ("Reverse {}.", "Reverse the word {}.", "Spell {} backwards.", "Write {} in reverse.")
UPPER = ("Write {} in capitals.", "Uppercase {}.", "Put {} in capital letters.")
SWAP = ("Swap the ends of {}.", "Swap first and last in {}.")

ABILITIES: tuple[Ability, ...] = (
    Ability("add", add, 3.0),
    Ability("reverse", on_word("reverse", REVERSE, lambda w: w[::-1]), 2.0),
    Ability("sort", sort, 1.5),
    Ability("count", count, 1.5),
    Ability("compare", compare, 1.5),
    Ability("calendar", calendar(), 2.5, probe_share=25),
    Ability("facts", fact, 1.5, probe_share=0),  # held out by phrasing instead
    Ability("sentences", sentence, 0.8, probe_share=20),
    Ability("uppercase", on_word("uppercase", UPPER, str.upper), 0.7),
    Ability("letters", edge_letter, 0.7),
)
WEAK: tuple[Ability, ...] = (
    Ability("subtract", subtract, 0.25),
    Ability("swap", on_word("swap", SWAP, lambda w: w[-1] + w[1:-1] + w[0]), 0.1),
)
SMALL_TALK = Ability("small_talk", small_talk, 0.08, probe_share=0)


def draw(ability: Ability, part: str, rng: random.Random) -> Item:
    """A random item of the given part (facts and small talk have no parts of their own)."""
    while True:
        item = ability.make(rng)
        if ability.probe_share == 0 or part_of(item.key, ability.probe_share) == part:
            return item
