"""Which settings of an arm are chosen: each of its grid is run on the development seeds, and one criterion decides.

Imports no torch. What is chosen is written into `arms.py` by hand.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_es.study.plan import KEPT

CRITERION = f"the highest new task of those that keep {KEPT:g} of every suite; of all, where none does"


@dataclass(frozen=True)
class Tried:
    """A setting of an arm on one task. records: a cell each, of the development seeds."""

    arm: str
    task: str
    setting: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The setting, in short."""
        return named(self.setting)

    def mean(self, key: str) -> float:
        """Of a final figure, over the seeds."""
        return statistics.fmean(record["final"][key] for record in self.records)

    def as_json(self) -> dict[str, Any]:
        keys = ("new_task", "gain", "retention_min", "norm", "kl_prior", "seconds")
        seeds = [record["cell"]["seed"] for record in self.records]
        return {"setting": self.setting, "seeds": seeds, **{key: self.mean(key) for key in keys}}


def best(tried: Sequence[Tried]) -> Tried:
    """By CRITERION, on means over seeds; the first of equals."""
    kept = [one for one in tried if one.mean("retention_min") >= KEPT]
    return max(kept or tried, key=lambda one: one.mean("new_task"))


def named(setting: Mapping[str, Any], prefix: str = "") -> str:
    """'sigma=0.01,alpha=0.003', tables with dots: how the command line takes it, and a folder's name."""
    parts = []
    for key, value in setting.items():
        inner = isinstance(value, Mapping)
        parts.append(named(value, f"{prefix}{key}.") if inner else f"{prefix}{key}={value}")
    return ",".join(parts)
