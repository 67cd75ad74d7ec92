"""The items that are scored: the embedded model's own task, or random tokens of a fixed length for any other model."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

from edge_es.errors import InputError
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.model import Base

TOKENS = 64  # of a random item, prompt and answer, where nobody says
NEW_TOKENS = 16  # of an answer that is decoded


@dataclass(frozen=True)
class Items:
    """events: demonstrations, the form in which learning takes them. source: where they come from, for the report."""

    events: tuple[Event, ...]
    source: str


class Numbers:
    """A tokenizer whose text is the ids themselves, so that an item has exactly the tokens it is meant to have."""

    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[int(word) for word in text.split()])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The ids themselves, as a tokenizer would give a text."""
        return " ".join(str(i) for i in ids)


def items(base: Base, count: int, tokens: int | None, seed: int) -> tuple[Base, Items]:
    """`count` items and the base that reads them; the same for the same seed. `tokens` None is pocket's own task,
    or TOKENS of random ones for another model. Raises InputError for more than there are or than fit the context."""
    if base.ref == "pocket" and tokens is None:
        return base, _task(count, seed)
    return replace(base, tokenizer=Numbers()), _random(base, count, tokens or TOKENS, seed)


def _task(count: int, seed: int) -> Items:
    from edge_es.pocket import TASKS_DIR

    path = TASKS_DIR / "alias-train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    if count > len(lines):
        raise InputError(f"--items {count}: pocket's task has {len(lines)}; take fewer, or random ones by --tokens")
    rows = [json.loads(line) for line in random.Random(seed).sample(lines, count)]
    return Items(
        tuple(_event(i, Prompt.user(row["prompt"]), row["answer"]) for i, row in enumerate(rows)),
        f"pocket's task {path.stem}",
    )


def _random(base: Base, count: int, tokens: int, seed: int) -> Items:
    """A quarter of each item is its answer, the end token included."""
    answer = max(1, tokens // 4)
    if tokens - answer + max(answer, NEW_TOKENS) > base.context:
        raise InputError(f"--tokens {tokens}: with an answer, that is more than the context of {base.context} holds")
    draw = random.Random(seed)
    kept = {base.pad_id, *base.end_ids}
    ids = [i for i in range(base.model.get_input_embeddings().num_embeddings) if i not in kept]

    def words(length: int) -> str:
        return " ".join(str(draw.choice(ids)) for _ in range(length))

    return Items(
        tuple(_event(i, Prompt(text=words(tokens - answer)), words(answer - 1)) for i in range(count)),
        f"random items of {tokens} tokens, {answer} of them the answer",
    )


def _event(number: int, prompt: Prompt, answer: str) -> Event:
    return Event(str(number), "demonstration", (Exchange(prompt, answer),))
