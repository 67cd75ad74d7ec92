"""`stories`: a model that tells stories is taught a turn of style by preference. The stories are the user's.

After the opening of any story a dragon is to say hello: that continuation is the chosen one, the story's own next
sentence the rejected one. What must be kept is telling stories: nats a token of held-out ones, and knowing how an
opening goes on among the continuations of others.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_es.config import ProtectSection
from edge_es.errors import InputError
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.probes.suites import Item
from edge_es.protected import protected_texts
from edge_es.slices import run
from edge_es.study.material import Material, some
from edge_es.study.suites import Preferred, Suite, probed

TAUGHT = "Suddenly, a dragon named Zog said hello."
HELD_OUT, TESTED = 256, 200  # stories that the suites are made of; openings on which the task is tested
TOLD = 128  # of those held out, whose every token is scored
CHOICES, CONTEXT, CONTINUED = 4, 4, 2  # of an item of `going-on`; its sentences
DRIFT_TOKENS = 32  # of a held-out story
LEAST, MOST = 15, 300  # characters of an opening or a continuation; what lies outside is no usual story

_SENTENCE = re.compile(r"""[^.!?]+[.!?]+["'”’]?""")


@dataclass(frozen=True)
class Story:
    """sentences: those it begins with, without space around them, two at least."""

    text: str
    sentences: tuple[str, ...]

    @property
    def opening(self) -> str:
        return self.sentences[0]

    @property
    def continuation(self) -> str:
        """The sentence after the opening."""
        return self.sentences[1]


def stories(base: Base, path: Path, seed: int, items: int | None, events: int) -> Material:
    """The first stories of the file are held out, the next tested on, the rest learned from: as many as there are,
    `events` at most. Raises InputError for a file that holds too few."""
    found = read(path)
    rest = found[HELD_OUT:]
    tested, taught = rest[:TESTED], rest[TESTED : TESTED + events]
    if not taught:
        raise InputError(
            f"{path} has {len(found)} stories that differ and begin with two sentences; the study needs more than "
            f"{HELD_OUT + TESTED}, to hold some out"
        )
    pairs = [(preferred(base, one), plain(base, one)) for one in tested]
    task = Preferred(*(tuple(text_of(base, one) for one in side) for side in zip(*pairs, strict=True)))
    priors = suites_of(base, found, items)
    rng = random.Random(seed)
    return Material(
        name="stories",
        events=tuple(
            Event(str(number), "preference", (preferred(base, one), plain(base, one)))
            for number, one in enumerate(taught)
        ),
        task=task,
        priors=priors,
        protected=tuple(run(protected_texts(base, ProtectSection(), OPEN))),
        near_task=some(task.texts, rng),
        near_prior=beginnings(priors["telling"], rng),
    )


def suites_of(base: Base, found: Sequence[Story], items: int | None) -> dict[str, Suite]:
    """`telling`, nats a token of stories, and `going-on`, accuracy among CHOICES continuations; `items` of each."""
    held_out = found[:HELD_OUT]
    whole = [Item(None, one.text, ended=False) for one in held_out[:TOLD][:items]]
    return {
        "telling": probed(base, "telling", "perplexity", whole),
        "going-on": probed(base, "going-on", "choice", choices(held_out)[:items]),
    }


def beginnings(telling: Suite, rng: random.Random) -> tuple[Text, ...]:
    """The beginnings of some of the stories, for drift."""
    return tuple(Text(text.prompt, text.answer[:DRIFT_TOKENS]) for text in some(telling.texts, rng))


def read(path: Path) -> list[Story]:
    """The stories of a file, each once: JSON Lines of texts or of objects with a "text" or "story", one JSON list of
    such, or plain text with a story a line. Those that do not begin with two sentences of usual length are passed
    over. Raises InputError."""
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"stories {path} cannot be read: {error}", "stories") from None
    texts = dict.fromkeys(text.strip() for text in _texts(whole))
    return [one for text in texts if (one := _story(text)) is not None]


def preferred(base: Base, one: Story) -> Exchange:
    """The opening, continued as it is taught."""
    return _continued(base, one.opening, TAUGHT)


def plain(base: Base, one: Story) -> Exchange:
    """The opening, continued as the story itself does."""
    return _continued(base, one.opening, one.continuation)


def choices(among: Sequence[Story]) -> list[Item]:
    """For the beginning of each story that is long enough, how it goes on and how the next ones do at that place, in
    an order that the text decides."""
    begun = [one for one in among if len(one.sentences) >= CONTEXT + CONTINUED]
    after = [" ".join(one.sentences[CONTEXT : CONTEXT + CONTINUED]) for one in begun]
    items = []
    for at, one in enumerate(begun):
        wrong = [other for other in dict.fromkeys(after[at + 1 :] + after[:at]) if other != after[at]][: CHOICES - 1]
        label = random.Random(one.text).randrange(CHOICES)
        listed = (*wrong[:label], after[at], *wrong[label:])
        prompt = Prompt(text=" ".join(one.sentences[:CONTEXT]))
        items.append(Item(prompt, ended=False, choices=listed, label=label))
    return items


def _continued(base: Base, opening: str, sentence: str) -> Exchange:
    """Tokenizers differ in whether a word's space is to be written or put before any text by themselves: what is
    written here is what gives the tokens of the whole."""
    prompt = Prompt(text=opening)
    whole = tuple(base.tokenizer(f"{opening} {sentence}").input_ids)
    bare = Exchange(prompt, sentence, ended=False)
    text = text_of(base, bare)
    return bare if (*text.prompt, *text.answer) == whole else Exchange(prompt, f" {sentence}", ended=False)


def _story(text: str) -> Story | None:
    begins = zip(_SENTENCE.finditer(text), range(CONTEXT + CONTINUED), strict=False)
    sentences = tuple(found.group().strip() for found, _ in begins)
    if len(sentences) < 2 or not all(LEAST <= len(one) <= MOST for one in sentences[:2]):
        return None
    return Story(text, sentences)


def _texts(whole: str) -> list[str]:
    try:
        listed = json.loads(whole)
    except ValueError:
        listed = [_parsed(line) for line in whole.splitlines() if line.strip()]
    texts: list[str] = []
    for one in listed if isinstance(listed, list) else [listed]:
        text = one.get("text", one.get("story")) if isinstance(one, dict) else one
        if not isinstance(text, str):
            raise InputError('a story is a text, or an object with a "text"', "stories")
        texts.append(text)
    return texts


def _parsed(line: str) -> object:
    """Of JSON Lines the value; of a plain text the line."""
    try:
        return json.loads(line) if line.lstrip().startswith(('"', "{")) else line
    except ValueError:
        return line
