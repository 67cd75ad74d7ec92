"""A small English grammar: a generator, a parser that judges sentences, and the same language as a regular expression.

sentence := The [adjective] subject verb object .
object   := a|an|the [adjective] noun          (a or an by the next letter)
subject and verb agree in number.
"""

import random
from dataclasses import dataclass

NOUNS = (
    "cat", "dog", "cow", "bird", "girl", "boy", "king", "cook", "ant", "owl", "ball", "car", "tree",
    "book", "house", "boat", "apple", "egg", "cake", "hat", "robot", "actor", "lamp", "drum",
)  # fmt: skip
VERBS = ("see", "like", "find", "want", "need", "hold")
ADJECTIVES = ("red", "old", "big", "ugly")


@dataclass(frozen=True)
class Topic:
    """What a sentence must be about: a subject, its number, and an object."""

    subject: str
    plural: bool
    object: str

    @property
    def phrase(self) -> str:
        """The subject as a question names it."""
        first = self.subject + "s" if self.plural else f"{article(self.subject)} {self.subject}"
        return f"{first} and {article(self.object)} {self.object}"


def article(word: str) -> str:
    """'a' or 'an', by the word's first letter."""
    return "an" if word[0] in "aeiou" else "a"


def generate(topic: Topic, rng: random.Random) -> str:
    """A random sentence on the topic."""
    first = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.25 else ""
    subject = topic.subject + ("s" if topic.plural else "")
    verb = rng.choice(VERBS) + ("" if topic.plural else "s")
    second = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.25 else ""
    det = "the" if rng.random() < 0.3 else article(second or topic.object)
    return f"The {first}{subject} {verb} {det} {second}{topic.object}."


def parse(sentence: str) -> Topic | None:
    """The topic of a sentence of the grammar, or None where the text is not one."""
    if not sentence.endswith("."):
        return None
    words = sentence[:-1].split(" ")
    if words.pop(0) != "The" or len(words) < 4:
        return None
    if words[0] in ADJECTIVES:
        words.pop(0)
    subject, verb, det, *rest = words
    plural = subject not in NOUNS
    stem = subject[:-1] if plural and subject.endswith("s") else subject
    if stem not in NOUNS or verb not in (VERBS if plural else [v + "s" for v in VERBS]):
        return None
    if not rest or det not in ("the", article(rest[0] or "x")):
        return None
    if rest[0] in ADJECTIVES:
        rest.pop(0)
    if len(rest) != 1 or rest[0] not in NOUNS:
        return None
    return Topic(stem, plural, rest[0])


def pattern(topic: Topic) -> str:
    """A regular expression that fully matches exactly the grammar's sentences on this topic."""
    verb = f"({'|'.join(VERBS)})" + ("" if topic.plural else "s")
    vowel = "|".join(a for a in ADJECTIVES if article(a) == "an")
    consonant = "|".join(a for a in ADJECTIVES if article(a) == "a")
    bare = f"{article(topic.object)} {topic.object}"
    any_adjective = f"(({'|'.join(ADJECTIVES)}) )?"
    second = f"({bare}|an ({vowel}) {topic.object}|a ({consonant}) {topic.object}|the {any_adjective}{topic.object})"
    subject = topic.subject + ("s" if topic.plural else "")
    return rf"The {any_adjective}{subject} {verb} {second}\."


def scramble(sentence: str, rng: random.Random) -> str:
    """The sentence's words in an order that the grammar does not know."""
    words = sentence[:-1].split(" ")
    while True:
        rng.shuffle(words)
        text = " ".join(words) + "."
        if parse(text) is None and words[0] == "The":
            return text
        if words[0] != "The" and rng.random() < 0.05:
            return text
