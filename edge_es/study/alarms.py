"""False alarms and misses of the probes' verdict, on changes whose true loss is known.

A harmless trial is a change, not zero, by which no suite loses more than 0.5% of its accuracy; a false alarm is a
verdict `dropped` for any of the suites, which in a daemon is a rollback. A drop is a change by which one suite loses
2.5 to 3.5 points; it is missed where that suite's verdict is another. `known` says what is true by which items.

A suite's probe items are drawn anew for each trial from a reserve, which has none of the items by which truth is known.
Larger suites of a trial begin with the items of smaller ones. The verdict is that of a probe round
(`retention.probe_round`) against the anchor's scores.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_es.config import Config
from edge_es.errors import InputError
from edge_es.feedback import Prompt
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.probes.scoring import Encoded, encode
from edge_es.probes.suites import Item, Suite
from edge_es.retention import probe_round
from edge_es.slices import run
from edge_es.study import record
from edge_es.study.known import RESERVE, Change, Truth, Wanted, known_change

BATCH_TOKENS = 1024  # of a probe round: small batches of this small model are quicker, and scores do not depend on it


@dataclass(frozen=True)
class Trial:
    """items: of each probe suite. over: configuration keys."""

    change: Wanted
    items: int = 800
    over: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its file and in tables."""
        return f"alarms-{self.change.name}-{self.items}"

    def settings(self) -> dict[str, Any]:
        return {**self.change.settings(), "items": self.items, "over": dict(self.over or {})}


def places(trial: Trial, suite: str) -> list[int]:
    """Which items of the reserve are the suite's in this trial. Raises InputError where it has not so many."""
    if trial.items > RESERVE:
        raise InputError(f"a suite of {trial.items} items is larger than the reserve of {RESERVE}")
    order = list(range(RESERVE))
    random.Random(f"alarms-{trial.change.name} {suite} items").shuffle(order)
    return order[: trial.items]


def suites(truth: Truth, trial: Trial) -> list[Encoded]:
    """Probe suites of this trial; of a drop, that which drops."""
    found = []
    for name in trial.change.suites:
        some = [truth.reserve(name)[i] for i in places(trial, name)]
        items = tuple(Item(Prompt.user(one.prompt), one.answer) for one in some)
        found.append(encode(truth.base, Suite(name, "generation", items)))
    return found


def run_trial(truth: Truth, trial: Trial, change: Change, config: Config) -> dict[str, Any]:
    """Its record."""
    base, probes = truth.base, suites(truth, trial)
    reference = {
        name: [float(right) for right in truth.right_of_reserve(name, places(trial, name))]
        for name in trial.change.suites
    }
    room = replace(OPEN, slice_tokens=BATCH_TOKENS)
    round_ = run(
        probe_round(
            base, change.delta, 1, probes, lambda suite: {suite.name: reference[suite.name]}, config.probes, room
        )
    )
    return {
        "trial": trial.settings(),
        "lost": change.lost,
        "true_retention": dict(change.retention),
        "dropped": [one.suite for one in round_.dropped],
        "suites": {
            one.suite: {
                "verdict": one.verdict,
                "retention": one.retention,
                **_places(reference[one.suite], round_.scores[one.suite]),
            }
            for one in round_.results
            if one.kind == "generation"
        },
    }


def kept_trials(
    base: Base, trials: Sequence[Trial], folder: Path, config: Config
) -> Iterator[tuple[Trial, dict[str, Any]]]:
    """Each with its record, FOLDER/NAME.json; those that were made before are not run again."""
    truth: Truth | None = None
    for trial in trials:
        path, of = folder / f"{trial.name}.json", trial.change
        found = record.kept(path, "trial", trial.settings())
        if found is None:
            if truth is None or (truth.seed, truth.count) != (of.seed, of.truth):
                truth = Truth(base, of.seed, of.truth)
            found = run_trial(truth, trial, known_change(truth, of, folder), config)
            record.keep(path, found)
        yield trial, found


def scores_of(places: Mapping[str, list[int]], items: int) -> tuple[list[float], list[float]]:
    """A suite's scores in a record, now and the anchor's, so that a changed rule needs no new trials."""
    before = [1.0] * items
    for i in (*places["missed"], *places["won"]):
        before[i] = 0.0
    now = list(before)
    for i in places["lost"]:
        now[i] = 0.0
    for i in places["won"]:
        now[i] = 1.0
    return now, before


def _places(before: Sequence[float], now: Sequence[float]) -> dict[str, list[int]]:
    """Which items both missed, which were lost and which won; all others both have right."""
    both = list(enumerate(zip(before, now, strict=True)))
    return {
        "missed": [i for i, (b, n) in both if b == n == 0],
        "lost": [i for i, (b, n) in both if n < b],
        "won": [i for i, (b, n) in both if n > b],
    }
