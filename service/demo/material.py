"""What the demo sends: task (a) of the pocket model, wrong answers to what it can do, and its second settings."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

UNGUARDED = """\
# The second half of `edge-es demo`: the guards let everything through, so that the probes stand alone.
# Never serve with this.

[search]
anneal = false             # a wrong answer that is half learned steps as far as a new one
alpha = 0.3
population = 96
focus = false              # every linear moves
renew = 0                  # and stays the same

[guards]
decay = 0.0                # nothing is drawn back to the anchor

[guards.protect]
energy = 0.0               # the null space is off

[gates]
min_reliability = -1.0     # the signal gate is off
max_tie_rate = 1.0
canary_kl = 1000000.0      # the canary sees nothing

[learn]
kl_below = 0.0             # KL to the anchor joins no fitness
groups = 1
max_uses = 3               # what was taught before has served more steps than that, so the flood stands alone

[feedback]
clip = 0.0                 # what contradicts the rest counts like the rest

[probes]
every = 5
"""


@dataclass(frozen=True)
class Item:
    """A request with its right answer."""

    prompt: str
    answer: str


def messages(prompt: str) -> list[dict[str, str]]:
    """A chat of one user message."""
    return [{"role": "user", "content": prompt}]


def task(part: str) -> list[Item]:
    """The alias task: part 'train' or 'test'. No test prompt is among the train prompts."""
    text = (files("edge_es.pocket") / "tasks" / f"alias-{part}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [Item(row["prompt"], row["answer"]) for row in rows]


def demonstration(prompt: str, answer: str, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """A body of /v1/feedback: this is the better answer."""
    body = {"input": {"messages": messages(prompt)}, "metric_name": "demonstration", "value": answer}
    return {**body, "tags": tags} if tags else body


def preference(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """A body of /v1/feedback: this answer rather than that one."""
    value = {"chosen": chosen, "rejected": rejected}
    return {"input": {"messages": messages(prompt)}, "metric_name": "preference", "value": value}


def rating(inference_id: str, good: bool) -> dict[str, Any]:
    """A body of /v1/feedback: thumbs up or down for a served completion."""
    return {"inference_id": inference_id, "metric_name": "thumbs", "value": good}


def wrong_answers(count: int, seed: int) -> list[dict[str, Any]]:
    """Demonstrations of wrong answers to prior abilities, `count` in all, ability by ability in turn.

    The prompts are drawn as the model's training prompts were, so none is a probe item; each answer is the
    right one of another prompt of the same ability: well-formed, plausible, false.
    """
    from edge_es.pocket.abilities import ABILITIES, draw

    rng = random.Random(seed)
    bodies: list[list[dict[str, Any]]] = []
    for ability in ABILITIES:
        items = [draw(ability, "train", rng) for _ in range(-(-count // len(ABILITIES)))]
        bodies.append([demonstration(i.prompt, another(i.answer, items, rng), {"demo": "attack"}) for i in items])
    flood = [group[i] for i in range(len(bodies[0])) for group in bodies]
    return flood[:count]


def another(answer: str, items: Sequence[Any], rng: random.Random) -> str:
    """The answer of another item, never `answer` itself. `items` have an `answer`."""
    wrong = [item.answer for item in items if item.answer != answer]
    return str(rng.choice(wrong)) if wrong else answer[::-1] + "?"
