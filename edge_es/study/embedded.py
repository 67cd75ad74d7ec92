"""The embedded model's own tasks: alias, style and weak skill, with its nine suites of exact answers to keep."""

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.pocket import PROBES_DIR, PROTECTED, TASKS_DIR
from edge_es.pocket.build_items import distinct
from edge_es.pocket.tasks import STYLE_UNIT
from edge_es.pocket.tasks import TASKS as POCKET_TASKS
from edge_es.study.material import DRIFT_TEXTS, Material, some
from edge_es.study.suites import Suite, exact

RESTYLED = {"style": "add"}  # task -> the suite whose form it changes; that one is judged by content
GRADED = "weak_skill"  # the task whose answers are not shown


def embedded(base: Base, task: str, seed: int, items: int | None, events: int) -> Material:
    """`task` is one of the three. `events`: those that ship with the model first."""
    taught = [*_rows(TASKS_DIR / f"{task}-train.jsonl")[:events]]
    taught += _more(task, {row["prompt"] for row in taught}, events - len(taught))
    tested = exact(base, _rows(TASKS_DIR / f"{task}-test.jsonl"))
    rng = random.Random(seed)
    near = prior_texts(base, rng)
    return Material(
        name=task,
        events=tuple(event(row, number) for number, row in enumerate(taught)),
        task=tested,
        priors=priors(base, items, {RESTYLED[task]: STYLE_UNIT} if task in RESTYLED else {}),
        protected=protected(base, task),
        near_task=some(tested.texts, rng),
        near_prior=near,
    )


def priors(base: Base, items: int | None, also: Mapping[str, str]) -> dict[str, Suite]:
    """The model's suites by name, `items` of each; `also`: suite -> what may stand behind an answer, too."""
    return {path.stem: exact(base, _rows(path)[:items], also.get(path.stem)) for path in _paths()}


def prior_texts(base: Base, rng: random.Random) -> tuple[Text, ...]:
    """Some of each suite, for drift."""
    each = -(-DRIFT_TEXTS // len(_paths()))
    near = [text_of(base, _exchange(row)) for path in _paths() for row in rng.sample(_rows(path), each)]
    return tuple(near[:DRIFT_TEXTS])


def protected(base: Base, task: str | None = None) -> tuple[Text, ...]:
    """What ships with the model, without what the task changes on purpose."""
    kept = [row for row in _rows(PROTECTED) if task not in RESTYLED or not is_sum(row["prompt"])]
    return tuple(text_of(base, _exchange(row)) for row in kept)


def is_sum(prompt: str) -> bool:
    """Whether this asks for a sum, as the ability `add` does."""
    return re.fullmatch(r"(What is )?\d+(\+| plus )\d+[?=]|Add \d+ and \d+\.", prompt) is not None


def event(row: Mapping[str, Any], number: int) -> Event:
    """A demonstration; where the row has a grader, a task, whose answer is not shown."""
    prompt = Prompt.user(row["prompt"])
    if "grader" in row:
        return Event(str(number), "task", (Exchange(prompt, ""),), grader=row["grader"])
    return Event(str(number), "demonstration", (Exchange(prompt, row["answer"]),))


def _more(task: str, taken: set[str], count: int) -> list[dict[str, Any]]:
    """Further items of a task, as `pocket.build_items` draws them: of the part that is never tested or probed."""
    of = next(one for one in POCKET_TASKS if one.name == task)
    rng = random.Random(f"study {task}")
    items = distinct(lambda: of.draw("train", rng), count, taken) if count else []
    rows: list[dict[str, Any]] = [{"prompt": item.prompt, "answer": item.answer} for item in items]
    for row in rows if task == GRADED else ():
        row["grader"] = {"type": "string_check", "operation": "eq", "reference": row["answer"]}
    return rows


def _exchange(row: Mapping[str, Any]) -> Exchange:
    return Exchange(Prompt.user(row["prompt"]), row["answer"])


def _paths() -> list[Path]:
    return [path for path in sorted(PROBES_DIR.glob("*.jsonl")) if _rows(path)]


def _rows(path: Path) -> list[dict[str, Any]]:
    """The items that have one exact answer."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "answer" in row]
