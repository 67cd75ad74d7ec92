"""Writes the probes, the tasks and the protected inputs: python -m edge_es.pocket.build_items [--out DIR]. No torch."""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_es.pocket import facts, grammar
from edge_es.pocket.abilities import ABILITIES, Ability, Item, draw
from edge_es.pocket.tasks import TASKS

PROBE_ITEMS = 400
TASK_TRAIN, TASK_TEST = 512, 400
PROTECTED_EACH = 64


def distinct(make: Callable[[], Item], n: int, taken: set[str]) -> list[Item]:
    """n items whose prompts are new; their prompts join `taken`. Raises RuntimeError where there are not that many."""
    items: list[Item] = []
    for _ in range(1000 * n):
        item = make()
        if item.prompt not in taken:
            taken.add(item.prompt)
            items.append(item)
            if len(items) == n:
                return items
    raise RuntimeError(f"only {len(items)} distinct items of {n}")


def probe_items(ability: Ability, rng: random.Random, taken: set[str]) -> list[Item]:
    """The held-out items of an ability; for facts, every fact in every held-out phrasing."""
    if ability.name == "facts":
        return [
            Item(facts.ask(kind, subject, phrasing), answer, f"fact:{subject}")
            for kind, subject, answer in facts.FACTS
            for phrasing in sorted(facts.HELD_OUT)
        ]
    return distinct(lambda: draw(ability, "probe", rng), PROBE_ITEMS, taken)


def row(item: Item) -> dict[str, Any]:
    """One line of a generation suite."""
    if item.topic is None:
        return {"prompt": item.prompt, "answer": item.answer}
    return {"prompt": item.prompt, "grader": {"type": "regex", "pattern": grammar.pattern(item.topic)}}


def choice_row(item: Item, rng: random.Random) -> dict[str, Any]:
    """A grammatical sentence against the same words in disorder."""
    label = rng.randrange(2)
    wrong = grammar.scramble(item.answer, rng)
    return {"prompt": item.prompt, "choices": [wrong, item.answer] if label else [item.answer, wrong], "label": label}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON Lines, the same bytes on every machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def build(out: Path) -> None:
    """Writes probes/*.jsonl, tasks/*.jsonl and protected.jsonl below `out`; the same bytes each time."""
    taken: set[str] = set()
    for ability in ABILITIES:
        rng = random.Random(f"probe {ability.name}")
        items = probe_items(ability, rng, taken)
        write(out / "probes" / f"{ability.name}.jsonl", [row(i) for i in items])
        if ability.name == "sentences":
            write(out / "probes" / "sentences_choice.jsonl", [choice_row(i, rng) for i in items])
    for task in TASKS:
        for part, name, n in (("train", "train", TASK_TRAIN), ("dev", "test", TASK_TEST)):
            rng = random.Random(f"task {task.name} {part}")
            items = distinct(lambda t=task, p=part, r=rng: t.draw(p, r), n, taken)  # type: ignore[misc]
            rows = [row(i) for i in items]
            if task.name == "weak_skill":
                for r in rows:
                    r["grader"] = {"type": "string_check", "operation": "eq", "reference": r["answer"]}
            write(out / "tasks" / f"{task.name}-{name}.jsonl", rows)
    rng = random.Random("protected")
    protected = [i for a in ABILITIES for i in distinct(lambda a=a: draw(a, "train", rng), PROTECTED_EACH, taken)]  # type: ignore[misc]
    rng.shuffle(protected)
    write(out / "protected.jsonl", [{"prompt": i.prompt, "answer": i.answer} for i in protected])


def main() -> None:
    """`python -m edge_es.pocket.build_items [--out FOLDER]`."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    build(p.parse_args().out)


if __name__ == "__main__":
    main()
