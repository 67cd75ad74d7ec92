"""The arms by name: how each learns, on which base, with which settings.

Settings are those that did best in each arm's grid on the development seeds (docs/forgetting.md); grids are of one
size. Those of edge-es are configuration keys over its defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_es.config import Config, load
from edge_es.errors import InputError
from edge_es.model import Base
from edge_es.study.adapter import EdgeES
from edge_es.study.gradient import GRPO, Supervised
from edge_es.study.learning import ANSWER_TOKENS, Learner
from edge_es.study.live import Live
from edge_es.study.material import Material
from edge_es.study.paper import PaperES

Tree = Mapping[str, Any]

OFF: Tree = {
    "search": {"focus": False, "anneal": False},
    "guards": {"decay": 0.0, "protect": {"energy": 0.0}},
    "gates": {"canary_kl": None, "min_reliability": -1.0, "max_tie_rate": 1.0},
    "learn": {"kl_below": 0.0},
    "feedback": {"clip": 0.0},
}
GUARDS: Mapping[str, Tree] = {  # each alone, over OFF, as the defaults have it; a mask, which they have not, too
    "focus": {"search": {"focus": True}},
    "anneal": {"search": {"anneal": True}},
    "decay": {"guards": {"decay": 0.002}},
    "null-space": {"guards": {"protect": {"energy": 0.999}}},
    "kl": {"learn": {"kl_below": 1.0}},
    "mask": {"guards": {"mask": {"kind": "activation", "density": 0.1}}},
    "canary": {"gates": {"canary_kl": 0.5}},
    "signal": {"gates": {"min_reliability": 0.1, "max_tie_rate": 0.9}},
}
PLAIN = {"sigma": 0.003, "alpha": 0.003, "population": 30, "batch": 16}
RATES = (1e-5, 3e-5, 1e-4, 3e-4)
ALPHAS: tuple[Tree, ...] = tuple({"search": {"alpha": alpha}} for alpha in (0.125, 0.25, 0.5, 1.0))


@dataclass(frozen=True)
class Arm:
    """quantization: of the base it needs. settings: numbers of es-full, grpo and sft, or a configuration tree. grid:
    what is tried on the development seeds, over the settings."""

    name: str
    what: str
    quantization: str
    settings: Tree
    grid: tuple[Tree, ...] = ()


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("defaults", "edge-es as it comes", "nf4", {}, ALPHAS),
        Arm(
            "defaults-live",
            "the same, from ratings of the answers that its members gave",
            "nf4",
            {"search": {"exploration": "live"}, "user": {"temperature": 0.0, "similarity": False}},
        ),
        Arm(
            "es-full",
            "the paper's ES: dense, z-scores, N=30, no guard",
            "none",
            PLAIN,
            tuple({"sigma": s, "alpha": a} for s, a in ((0.003, 0.003), (0.003, 0.01), (0.01, 0.003), (0.01, 0.01))),
        ),
        Arm(
            "grpo",
            "policy gradient with a KL to the anchor, AdamW",
            "none",
            {"rate": 1e-4, "batch": 16, "group": 30},
            tuple({"rate": rate} for rate in RATES),
        ),
        Arm(
            "sft",
            "AdamW on the demonstrations",
            "none",
            {"rate": 1e-4, "batch": 64},
            tuple({"rate": rate} for rate in RATES),
        ),
        Arm("es-adapter", "the adapter of edge-es without any guard", "nf4", OFF, ALPHAS),
        *(Arm(f"es-adapter+{name}", f"the same with {name} alone", "nf4", tree) for name, tree in GUARDS.items()),
    )
}


def arm(name: str) -> Arm:
    """Raises InputError that lists the known ones."""
    if name not in ARMS:
        raise InputError(f"arm '{name}' is unknown; known are {', '.join(ARMS)}")
    return ARMS[name]


def configuration(of: Arm, seed: int, over: Tree) -> Config:
    """The configuration of an arm of edge-es; `over`: further keys. What an arm's user is like is none of it."""
    tree: dict[str, Any] = {}
    layers = (OFF if of.name.startswith("es-adapter") else {}, of.settings, over)
    for layer in (*layers, {"search": {"seed": seed}, "model": {"quantization": of.quantization}}):
        tree = merged(tree, layer)
    tree.pop("user", None)
    return load(None, tree)


def learner(of: Arm, base: Base, it: Material, seed: int, over: Tree) -> Learner:
    """The arm before its first step. `over` replaces some of its settings. Raises InputError for a task that it cannot
    learn."""
    settings = merged(of.settings, over)
    try:
        if "user" in of.settings:
            return Live(base, configuration(of, seed, over), it.events, it.protected, settings["user"])
        if of.quantization == "nf4":
            asked: Tree = {"learn": {"task_tokens": it.answer_tokens}} if it.answer_tokens else {}
            return EdgeES(base, configuration(of, seed, merged(asked, over)), it.events, it.protected)
        if of.name == "es-full":
            return PaperES(base, it.events, seed, **settings, answer_tokens=it.answer_tokens or ANSWER_TOKENS)
        if of.name == "grpo":
            return GRPO(base, it.events, seed, **settings, answer_tokens=it.answer_tokens or ANSWER_TOKENS)
        return Supervised(base, it.events, seed, **settings)
    except TypeError:
        raise InputError(f"arm {of.name} has the settings {', '.join(of.settings)}, not {', '.join(over)}") from None


def merged(under: Tree, over: Tree) -> dict[str, Any]:
    """Tables key by key, anything else replaced."""
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result
