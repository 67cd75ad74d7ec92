"""Teaches the embedded model one of its tasks, without a daemon: python -m edge_es.pocket.teach TASK [--set KEY=VALUE].

Prints a line every few steps: held-out accuracy on the task, and the retention of every generative probe suite. It
is how the defaults were found; `--set` takes any configuration key (search.alpha=0.5).
"""

import argparse
import json
import random
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edge_es.batch import draw
from edge_es.config import Config, load
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.focus import SCOUT_EVENTS, SCOUTS
from edge_es.learner import shares, turn
from edge_es.ledger import MemoryJournal, Row, anchor_row
from edge_es.likelihood import Text, score
from edge_es.model import Base, load_base
from edge_es.pocket import PROBES_DIR, PROTECTED, TASKS_DIR
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.state import State, Surroundings, resume


def rows(path: Path) -> list[dict[str, Any]]:
    """The items that have one exact answer."""
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [item for item in items if "answer" in item]


def texts(base: Base, path: Path) -> list[Text]:
    return [text_of(base, Exchange(Prompt.user(row["prompt"]), row["answer"])) for row in rows(path)]


def event(row: dict[str, Any], number: int) -> Event:
    """A demonstration; of the weak skill, a task with its grader."""
    prompt = Prompt.user(row["prompt"])
    if "grader" in row:
        return Event(str(number), "task", (Exchange(prompt, ""),), grader=row["grader"])
    return Event(str(number), "demonstration", (Exchange(prompt, row["answer"]),))


def right(base: Base, delta: Delta, some: list[Text]) -> float:
    """Share of the answers that greedy decoding gives exactly."""
    return float(run(score(base, delta, some)).greedy.float().mean())


def configuration(pairs: list[str]) -> Config:
    """The defaults with KEY=VALUE over them."""
    tree: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        *sections, name = key.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = tomllib.loads(f"value = {value}")["value"]
    return load(None, tree)


def line(base: Base, state: State, task: list[Text], suites: dict[str, list[Text]], anchor: dict[str, float]) -> str:
    kept = {name: right(base, state.delta, some) / anchor[name] for name, some in suites.items()}
    worst = min(kept, key=lambda name: kept[name])
    mean = sum(kept.values()) / len(kept)
    return (
        f"task {right(base, state.delta, task):.4f}  retention min {kept[worst]:.4f} ({worst}) mean {mean:.4f}  "
        f"norm {state.delta.norm():.2f}  reliability {state.reliability or 0:.2f}"
    )


def evaluations(rows: Sequence[Row], config: Config) -> int:
    """Members times the items of the feedback that they were scored on, the search for the linears that matter
    included; the protected texts whose KL joins the fitness are not."""
    total = 0
    for row in rows:
        if row.kind == "step":
            groups = shares(row.population // 2, row.events, config.learn.groups)
            total += sum(2 * len(pairs) * len(own) for pairs, own in groups)
        total += 2 * SCOUTS * len(row.stats.get("sensitivity", {})) * min(SCOUT_EVENTS, config.learn.batch)
    return total


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("task", choices=["alias", "style", "weak_skill"])
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--every", type=int, default=20, help="steps between two lines")
    p.add_argument("--seed", type=int, default=0, help="of the batches and of the noise")
    p.add_argument("--until", type=float, help="stop at this accuracy on the task, looking every few steps")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a configuration key, as in TOML")
    a = p.parse_args()
    config = configuration([*a.set, f"search.seed={a.seed}"])
    base = load_base(config.model)
    task = texts(base, TASKS_DIR / f"{a.task}-test.jsonl")
    suites = {path.stem: texts(base, path) for path in sorted(PROBES_DIR.glob("*.jsonl")) if rows(path)}
    anchor = {name: right(base, Delta(), some) for name, some in suites.items()}
    events = [event(row, i) for i, row in enumerate(rows(TASKS_DIR / f"{a.task}-train.jsonl"))]
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    around = Surroundings(base, config, journal, texts(base, PROTECTED), {})
    state, rng, began = resume(journal, base.device), random.Random(a.seed), time.monotonic()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {config.search}; {config.learn}")
    print(f"step 0: {line(base, state, task, suites, anchor)}", flush=True)
    for step in range(1, a.steps + 1):
        drawn = draw([event.id for event in events], state.solved, config.learn.batch, rng)
        state = run(turn(state, [events[i] for i in drawn], step == 1, around))
        if step % a.every == 0:
            spent = time.monotonic() - began
            said = f"step {step}, {evaluations(journal.rows(), config)} evaluations ({spent:.0f} s)"
            print(f"{said}: {line(base, state, task, suites, anchor)}", flush=True)
            if a.until is not None and right(base, state.delta, task) >= a.until:
                return


if __name__ == "__main__":
    main()
