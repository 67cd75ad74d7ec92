"""What is taught and what must be kept: a task's items, the prior suites, and the texts that drift is measured on."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text, score
from edge_es.model import Base
from edge_es.pocket import PROBES_DIR, PROTECTED, TASKS_DIR
from edge_es.pocket.build_items import distinct
from edge_es.pocket.tasks import STYLE_UNIT
from edge_es.pocket.tasks import TASKS as POCKET_TASKS
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study import plan

RESTYLED = {"style": "add"}  # task -> the suite whose form it changes; that one is judged by content
GRADED = "weak_skill"  # the task whose answers are not shown
DRIFT_TEXTS = 64


@dataclass(frozen=True)
class Suite:
    """Items with exact answers. texts: of item i those that are right, texts[spans[i]]; any one of them will do."""

    texts: tuple[Text, ...]
    spans: tuple[range, ...]


@dataclass(frozen=True)
class Material:
    """events: to learn from. task: held out. priors: what must be kept. protected: texts that guards may know,
    disjoint from every suite. near_task, near_prior: texts on whose answers the KL to the anchor is measured."""

    name: str
    events: tuple[Event, ...]
    task: Suite
    priors: Mapping[str, Suite]
    protected: tuple[Text, ...]
    near_task: tuple[Text, ...]
    near_prior: tuple[Text, ...]


def material(base: Base, task: str, seed: int, items: int | None = None, events: int = plan.EVENTS) -> Material:
    """Of the embedded model. `items`: most that are read of a prior suite; None: all. `events`: to learn from, those
    that ship with the model first. Raises InputError for no such task."""
    plan.task(task)
    taught = [*_rows(TASKS_DIR / f"{task}-train.jsonl")[:events]]
    taught += _more(task, {row["prompt"] for row in taught}, events - len(taught))
    tested = suite(base, _rows(TASKS_DIR / f"{task}-test.jsonl"))
    paths = [path for path in sorted(PROBES_DIR.glob("*.jsonl")) if _rows(path)]
    also = {RESTYLED[task]: STYLE_UNIT} if task in RESTYLED else {}
    priors = {path.stem: suite(base, _rows(path)[:items], also.get(path.stem)) for path in paths}
    rng = random.Random(seed)
    each = -(-DRIFT_TEXTS // len(priors))
    near = [text_of(base, _exchange(row)) for path in paths for row in rng.sample(_rows(path), each)]
    return Material(
        name=task,
        events=tuple(event(row, number) for number, row in enumerate(taught)),
        task=tested,
        priors=priors,
        protected=tuple(
            text_of(base, _exchange(row))
            for row in _rows(PROTECTED)
            if task not in RESTYLED or not is_sum(row["prompt"])
        ),
        near_task=tuple(rng.sample(tested.texts, min(DRIFT_TEXTS, len(tested.texts)))),
        near_prior=tuple(near[:DRIFT_TEXTS]),
    )


def event(row: Mapping[str, Any], number: int) -> Event:
    """A demonstration; where the row has a grader, a task, whose answer is not shown."""
    prompt = Prompt.user(row["prompt"])
    if "grader" in row:
        return Event(str(number), "task", (Exchange(prompt, ""),), grader=row["grader"])
    return Event(str(number), "demonstration", (Exchange(prompt, row["answer"]),))


def suite(base: Base, rows: Sequence[Mapping[str, Any]], also: str | None = None) -> Suite:
    """`also`: the answer with this behind it is right, too."""
    texts: list[Text] = []
    spans: list[range] = []
    for row in rows:
        answers = [row["answer"], *([row["answer"] + also] if also else [])]
        spans.append(range(len(texts), len(texts) + len(answers)))
        texts += [text_of(base, Exchange(Prompt.user(row["prompt"]), answer)) for answer in answers]
    return Suite(tuple(texts), tuple(spans))


def right(base: Base, delta: Delta, some: Suite) -> float:
    """Share of the items that greedy decoding answers with one of the right answers."""
    greedy = run(score(base, delta, some.texts)).greedy.tolist()
    return sum(any(greedy[i] for i in span) for span in some.spans) / len(some.spans)


def _more(task: str, taken: set[str], count: int) -> list[dict[str, Any]]:
    """Further items of a task, as `pocket.build_items` draws them: of the part that is never tested or probed."""
    of = next(one for one in POCKET_TASKS if one.name == task)
    rng = random.Random(f"study {task}")
    items = distinct(lambda: of.draw("train", rng), count, taken) if count else []
    rows: list[dict[str, Any]] = [{"prompt": item.prompt, "answer": item.answer} for item in items]
    for row in rows if task == GRADED else ():
        row["grader"] = {"type": "string_check", "operation": "eq", "reference": row["answer"]}
    return rows


def _protected(task: str) -> list[dict[str, Any]]:
    """What ships with the model, without what the task changes on purpose."""
    return [row for row in _rows(PROTECTED) if task not in RESTYLED or not is_sum(row["prompt"])]


def is_sum(prompt: str) -> bool:
    """Whether this asks for a sum, as the ability `add` does."""
    return re.fullmatch(r"(What is )?\d+(\+| plus )\d+[?=]|Add \d+ and \d+\.", prompt) is not None


def _exchange(row: Mapping[str, Any]) -> Exchange:
    return Exchange(Prompt.user(row["prompt"]), row["answer"])


def _rows(path: Path) -> list[dict[str, Any]]:
    """The items that have one exact answer."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "answer" in row]
