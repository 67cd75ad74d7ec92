"""Suites: the items of one prior ability, from a JSON Lines file or from feedback that is held out.

Knows no model and imports no torch. One file is one suite, named by the file, of one kind:

| kind | an item |
| --- | --- |
| generation | {"prompt" or "messages", "answer" and/or "grader"}; "max_tokens" bounds what is generated for a grader |
| choice | {"prompt" or "messages", "choices": [texts], "label": index of the right one} |
| perplexity | {"text"}, or {"kind": "perplexity", "prompt" or "messages", "answer"} |
| kl | {"kind": "kl", "prompt" or "messages"}; with "answer" the KL is measured on the answer, else on the prompt |

A "prompt" is what a user says: it goes through the chat template of a model that has one. With "raw": true it is text
that is continued as it stands: its choices may have a "delimiter" before them (a space by default), and with "ended":
false the text of a generation item goes on after the answer. `id` may be given and is ignored; any other key is an
error.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edge_es.errors import InputError
from edge_es.feedback import Event, Message, Prompt
from edge_es.graders import validate

Kind = Literal["generation", "choice", "perplexity", "kl", "rating"]
FILE_KINDS: tuple[Kind, ...] = ("generation", "choice", "perplexity", "kl")
LEARNED = "learned-"  # names of suites made of held-out feedback begin so
MIN_LEARNED = 8  # items; a smaller suite says nothing
MAX_TOKENS = 128  # generated for a grader where the item does not say

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ROLES = ("system", "user", "assistant")
_FIELDS: Mapping[str, frozenset[str]] = {
    "generation": frozenset({"answer", "grader", "max_tokens", "ended"}),
    "choice": frozenset({"choices", "label", "delimiter"}),
    "perplexity": frozenset({"text", "answer"}),
    "kl": frozenset({"answer"}),
}
_COMMON = frozenset({"prompt", "messages", "raw", "kind", "id"})


@dataclass(frozen=True)
class Item:
    """One item. `prompt` is None only where a text is scored alone (perplexity; the text is `answer`).

    ended: the answer includes its end of turn. choices, label: of a choice item. grader: of a generation item that is
    generated and graded. value: the rating of a served answer, larger is better. delimiter: between a raw prompt and a
    choice; not among what `repr` shows, so that suites without it keep their digest.
    """

    prompt: Prompt | None
    answer: str | None = None
    ended: bool = True
    choices: tuple[str, ...] = ()
    label: int = 0
    grader: Mapping[str, Any] | None = None
    max_tokens: int = MAX_TOKENS
    value: float = 0.0
    delimiter: str = field(default=" ", repr=False)


@dataclass(frozen=True)
class Suite:
    """Items of one kind. Their order is their identity: scores of two versions are compared item by item."""

    name: str
    kind: Kind
    items: tuple[Item, ...]

    @property
    def learned(self) -> bool:
        """Made of held-out feedback; its reference is the best published version, not the anchor."""
        return self.name.startswith(LEARNED)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the items. Scores of a file that was edited since do not compare with the earlier ones."""
        told = repr((self.kind, self.items))
        gaps = [item.delimiter for item in self.items]
        told += repr(gaps) if set(gaps) - {" "} else ""
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def load_suite(path: Path) -> Suite:
    """The suite of a JSON Lines file. Raises InputError naming the file and, where there is one, the line."""
    if not _NAME.fullmatch(path.stem) or path.stem.startswith(LEARNED):
        raise InputError(
            f"probe file {path}: its name names the suite: letters, digits, '_', '.' and '-', and not '{LEARNED}...'"
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"probe file {path} does not exist; correct probes.suites or the path") from None
    except OSError as error:
        raise InputError(f"probe file {path} cannot be read: {error.strerror}") from None
    items: list[Item] = []
    kind: Kind | None = None
    seen: dict[Item, int] = {}
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = _parse(line)
            its_kind = _kind(row)
            if kind is not None and its_kind != kind:
                raise InputError(f"a {its_kind} item in a suite that begins with {kind} items; split the file")
            kind = its_kind
            item = _item(row, kind)
            key = _hashable(item)
            if key in seen:
                raise InputError(f"the item repeats line {seen[key]}; repeated items are no evidence")
        except InputError as error:
            raise InputError(f"probe file {path}, line {number}: {error}") from None
        seen[key] = number
        items.append(item)
    if kind is None:
        raise InputError(f"probe file {path} has no items")
    return Suite(path.stem, kind, tuple(items))


def _hashable(item: Item) -> Item:
    """The item with its grader out of the way, for finding repeats: a dict has no hash."""
    return Item(
        item.prompt, f"{item.answer!r} {json.dumps(item.grader, sort_keys=True)}", item.ended, item.choices, item.label
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InputError("it is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {str(error)[:200]}") from None
    if not isinstance(row, dict):
        raise InputError("an item is a JSON object")
    return row


def _kind(row: Mapping[str, Any]) -> Kind:
    stated = row.get("kind")
    for kind in FILE_KINDS:
        if stated == kind:
            return kind
    if stated is not None:
        raise InputError(f"`kind` is one of {', '.join(FILE_KINDS)}", "kind")
    if "text" in row:
        return "perplexity"
    if "choices" in row:
        return "choice"
    if "answer" in row or "grader" in row:
        return "generation"
    raise InputError('an item has "answer", "grader", "choices" or "text", or names its "kind"')


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"`{key}` must be a text that is not empty", key)
    return value


def _prompt(row: Mapping[str, Any]) -> Prompt:
    if ("prompt" in row) == ("messages" in row):
        raise InputError("an item has either `prompt` or `messages`", "prompt")
    if not isinstance(row.get("raw", False), bool):
        raise InputError("`raw` must be true or false", "raw")
    if "prompt" in row:
        text = _text(row, "prompt")
        return Prompt(text=text) if row.get("raw") else Prompt.user(text)
    messages = row["messages"]
    if "raw" in row:
        raise InputError("`raw` goes with `prompt`, not with `messages`", "raw")
    if not isinstance(messages, list) or not messages:
        raise InputError("`messages` must be a list that is not empty", "messages")
    turns = []
    for message in messages:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise InputError("a message has `role` and `content`", "messages")
        if message["role"] not in _ROLES or not isinstance(message["content"], str):
            raise InputError(f"a role is one of {', '.join(_ROLES)}, and content is a text", "messages")
        turns.append(Message(message["role"], message["content"]))
    return Prompt(tuple(turns))


def _item(row: Mapping[str, Any], kind: Kind) -> Item:
    unknown = set(row) - _COMMON - _FIELDS[kind]
    if unknown:
        raise InputError(f"a {kind} item has no key {sorted(unknown)[0]!r}")
    if kind == "choice":
        return _choice(row)
    if kind == "perplexity":
        if "text" in row:
            if set(row) - {"text", "kind", "id"}:
                raise InputError("a `text` is scored alone; it has no prompt and no answer", "text")
            return Item(None, _text(row, "text"), ended=False)
        return Item(_prompt(row), _text(row, "answer"))
    if kind == "kl":
        return Item(_prompt(row), _text(row, "answer") if "answer" in row else None)
    return _generation(row)


def _choice(row: Mapping[str, Any]) -> Item:
    choices, label = row.get("choices"), row.get("label")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise InputError("`choices` must be a list of two or more texts that are not empty", "choices")
    if len(set(choices)) < len(choices):
        raise InputError("`choices` must differ", "choices")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(choices):
        raise InputError(f"`label` must be the index of the right choice, 0 to {len(choices) - 1}", "label")
    prompt, delimiter = _prompt(row), row.get("delimiter", " ")
    if not isinstance(delimiter, str) or ("delimiter" in row and prompt.text is None):
        raise InputError("`delimiter` must be a text, and goes with a raw `prompt`", "delimiter")
    return Item(prompt, ended=False, choices=tuple(choices), label=label, delimiter=delimiter)


def _generation(row: Mapping[str, Any]) -> Item:
    if "answer" not in row and "grader" not in row:
        raise InputError("a generation item has `answer` or `grader`", "answer")
    grader = row.get("grader")
    if "grader" in row:
        validate(row["grader"])
    limit = row.get("max_tokens", MAX_TOKENS)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 4096:
        raise InputError("`max_tokens` must be a whole number, 1 to 4096", "max_tokens")
    prompt, ended = _prompt(row), row.get("ended", True)
    if not isinstance(ended, bool) or (not ended and (prompt.text is None or "answer" not in row or grader)):
        raise InputError("`ended` may be false for a raw `prompt` with an `answer` and no grader", "ended")
    return Item(prompt, _text(row, "answer") if "answer" in row else None, ended, grader=grader, max_tokens=limit)


def learned_suites(events: Sequence[Event], task_tokens: int = MAX_TOKENS) -> list[Suite]:
    """Suites of held-out events, in the events' order, which must not change between rounds (append only).

    learned-demonstration (generation), learned-preference (choice of two, the chosen one right), learned-task
    (generation, graded, of at most `task_tokens`, as it is trained), learned-rating (does the likelihood of the answer
    move as its rating says). A suite of fewer than MIN_LEARNED items is left out.
    """
    found = (
        Suite("learned-demonstration", "generation", tuple(_demonstrations(events))),
        Suite("learned-preference", "choice", tuple(_preferences(events))),
        Suite("learned-task", "generation", tuple(_tasks(events, task_tokens))),
        Suite("learned-rating", "rating", tuple(_ratings(events))),
    )
    return [suite for suite in found if len(suite.items) >= MIN_LEARNED]


def _demonstrations(events: Sequence[Event]) -> Iterator[Item]:
    for event in events:
        if event.kind == "demonstration":
            shown = event.exchanges[0]
            yield Item(shown.prompt, shown.answer, shown.ended)


def _preferences(events: Sequence[Event]) -> Iterator[Item]:
    for event in events:
        if event.kind == "preference" and len(event.exchanges) == 2:
            chosen, rejected = event.exchanges
            if chosen.answer and rejected.answer:  # the score is likelihood by character
                yield Item(chosen.prompt, ended=True, choices=(chosen.answer, rejected.answer))


def _tasks(events: Sequence[Event], task_tokens: int) -> Iterator[Item]:
    for event in events:
        if event.kind == "task" and event.grader is not None:
            yield Item(event.exchanges[0].prompt, grader=event.grader, max_tokens=task_tokens)


def _ratings(events: Sequence[Event]) -> Iterator[Item]:
    """Ratings of single answers that are not neutral. Only metrics whose values have both signs: a scale from 0 to 1
    has no sign to follow, and of an episode nobody knows which answer was meant."""
    waiting: dict[str | None, list[Item]] = {}  # until both signs are seen, so that later events only append
    signs: dict[str | None, set[bool]] = {}
    for event in events:
        if event.kind != "rating" or not event.value or len(event.exchanges) != 1 or not event.exchanges[0].answer:
            continue
        served = event.exchanges[0]
        items = waiting.setdefault(event.metric, [])
        items.append(Item(served.prompt, served.answer, served.ended, value=event.value))
        signs.setdefault(event.metric, set()).add(event.value > 0)
        if len(signs[event.metric]) == 2:
            yield from items
            items.clear()
