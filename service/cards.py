"""The configurations for real cards: `python -m service.cards` writes the files of configs/, and a test compares.

Each states what the planner (`edge_es.planned`) expects of it. What does not fit has no file.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_es.config import Config

Purpose = Literal["chat", "teach", "serve"]


@dataclass(frozen=True)
class Card:
    """gib: memory. The rest: what answers and steps are given on it."""

    gib: int
    context: int
    max_rows: int
    population: int
    batch: int
    groups: int


@dataclass(frozen=True)
class Model:
    """hub: its id. shape: its name among `edge_es.shapes`."""

    hub: str
    shape: str


CARDS = {
    "8gb": Card(8, 2048, 4, 16, 8, 1),
    "12gb": Card(12, 2048, 8, 16, 8, 1),
    "16gb": Card(16, 4096, 8, 32, 16, 2),
    "24gb": Card(24, 4096, 16, 32, 16, 2),
}
MODELS = {
    "qwen2.5-1.5b": Model("Qwen/Qwen2.5-1.5B-Instruct", "qwen-1.5b"),
    "qwen2.5-3b": Model("Qwen/Qwen2.5-3B-Instruct", "qwen-3b"),
    "qwen2.5-7b": Model("Qwen/Qwen2.5-7B-Instruct", "qwen-7b"),
    "llama-3.2-1b": Model("meta-llama/Llama-3.2-1B-Instruct", "llama-1b"),
    "llama-3.2-3b": Model("meta-llama/Llama-3.2-3B-Instruct", "llama-3b"),
    "llama-3.1-8b": Model("meta-llama/Llama-3.1-8B-Instruct", "llama-8b"),
}
FIRST = {"8gb": "qwen2.5-3b", "12gb": "qwen2.5-7b", "16gb": "qwen2.5-7b", "24gb": "llama-3.1-8b"}  # where none is named
LEFT_OUT = frozenset({("8gb", "qwen2.5-7b"), ("8gb", "llama-3.1-8b")})  # `Planned.fits` says no; a test asks it
PURPOSES: dict[Purpose, str] = {
    "chat": "answer, and learn from ratings and corrections in between",
    "teach": "learn from many demonstrations or tasks, as fast as may be",
    "serve": "answer only",
}


def names() -> list[str]:
    """Of all files in configs/, without their ending."""
    return ["pocket", *(f"{card}-{model}" for card in CARDS for model in MODELS if (card, model) not in LEFT_OUT)]


def preset(card: str, model: str | None = None) -> str:
    """The file for a card: with this model, or with the one that is recommended on it."""
    return f"{card}-{model or FIRST[card]}"


def purposed(text: str, purpose: Purpose) -> str:
    """A file's text for a purpose; `chat` is what the files are written for."""
    if purpose == "chat":
        return text
    if purpose == "serve":
        return text.replace(
            "[learn]\n", "[learn]\nenabled = false            # answers only; feedback is kept for later\n"
        )
    slow = "max_slowdown = 2.0         # answers may take twice as long while it learns\n"
    return text.replace("[serve]\n", f"[serve]\n{slow}")


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 4 else f"{size / 2**20:.0f} MiB"


def render(card_name: str, model_name: str) -> str:
    """The file's text."""
    from edge_es.planned import BESIDE, ROW, planned
    from edge_es.shapes import SHAPES

    card, model = CARDS[card_name], MODELS[model_name]
    it = planned(SHAPES[model.shape], _config(card, model), card.gib * 2**30)
    return f"""\
# {model.hub} on a card with {card.gib} GB of memory.
# NOT YET MEASURED on such a card. Planned by arithmetic over the model's shape (edge_es/planned.py):
#   weights, NF4 with double quantization   {gib(it.weights):>8}
#   the largest weight, unpacked            {gib(it.unpacked):>8}
#   keys and values of {card.max_rows:>2} full answers        {gib(it.serving):>8}   with serve.prefix_cache
#   what is learned, and one step's noise   {gib(it.delta + it.noise):>8}   at most (search.max_rank)
#   beside it: CUDA, a desktop              {gib(BESIDE):>8}
#   left for learning: about {it.rows} rows of {ROW} tokens at once, {gib(it.row)} each; they shrink to fit
# Step sizes are careful guesses, not measured on larger models. Watch `edge-es status` (memory) and
# `edge-es retention log` in the first hours.

[model]
ref = "{model.hub}"   # downloaded at the first start; some need a licence accepted on the hub
quantization = "nf4"
device = "cuda"
context = {card.context}               # a longer context costs keys and values for every row

[search]
rank = 2
population = {card.population}             # members a step; each is a row of the batch
sigma = 0.02               # less than pocket's
alpha = 0.02               # far below pocket's

[guards]
trust_radius = 20.0        # largest norm of all that was learned; a brake, until you know your model's own figure

[learn]
batch = {card.batch}
groups = {card.groups}
memory_budget = "{it.budget / 2**30:g}GiB"    # weights, what is learned, and batches; not the answers' caches

[probes]
# "auto" has no suites for a model other than pocket: name your own files here, or `edge-es probe add` them, or
# nothing guards what the model could do before. docs/probes.md says how to choose.
suites = ["auto"]

[serve]
host = "127.0.0.1"
port = 8420
max_rows = {card.max_rows}
"""


def _config(card: Card, model: Model) -> Config:
    return Config.model_validate(
        {
            "model": {"ref": model.hub, "context": card.context},
            "search": {"rank": 2, "population": card.population},
            "serve": {"max_rows": card.max_rows},
        }
    )


def main(folder: Path) -> None:
    """Writes all files but pocket's."""
    for name in names()[1:]:
        card, _, model = name.partition("-")
        (folder / f"{name}.toml").write_text(render(card, model), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "configs"))
