"""A learner small enough for tests of the study's longer experiments."""

import json
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from edge_es.study.material import Material
from edge_es.study.tasks import material

QUICK = {
    "search.population": 8,
    "search.focus": False,
    "search.target_modules": ["o_proj"],
    "learn.batch": 8,
    "learn.max_batch": 8,
    "learn.groups": 2,
    "guards.protect.energy": 0,
}
SMALL = [word for key, value in QUICK.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def protect_few(experiment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all 640 protected texts the input sides, and those that are near, take most of a short run's time."""

    def few(*arguments: Any) -> Material:
        it = material(*arguments)
        return replace(it, protected=it.protected[:32])

    monkeypatch.setattr(experiment, "material", few)
