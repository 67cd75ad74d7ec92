"""Probe rounds: every suite scored under one version, paired with its reference, judged; and where a rollback goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_es.config import ProbesSection
from edge_es.errors import StateError
from edge_es.ledger import Row, now, published, undone, way
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.probes.scoring import Encoded, score_suite
from edge_es.probes.suites import Suite
from edge_es.probes.verdicts import Limits, SuiteResult, judge
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

Reference = Callable[[Suite], Mapping[str, list[float]]]  # per-item scores by `ItemScores.by_key`'s keys


@dataclass(frozen=True)
class Round:
    """One version on all suites. scores: per-item, by key."""

    version: int
    at: str
    results: tuple[SuiteResult, ...]
    scores: Mapping[str, list[float]]

    @property
    def dropped(self) -> tuple[SuiteResult, ...]:
        """What was forgotten; empty for a passed round."""
        return tuple(result for result in self.results if result.verdict == "dropped")


def probe_round(
    base: Base,
    delta: Delta,
    version: int,
    suites: Sequence[Encoded],
    reference: Reference,
    section: ProbesSection,
    room: Plan,
) -> Slices[Round]:
    """Scores and judges `version`. Yields between batches. Raises StateError where the budget holds no item."""
    at, limits = now(), Limits(section.tolerance, section.alpha)
    results: list[SuiteResult] = []
    scores: dict[str, list[float]] = {}
    for encoded in suites:
        suite = encoded.suite
        measured = yield from score_suite(base, delta, encoded, room)
        scores.update(measured.by_key(suite.name))
        results += judge(version, suite.name, measured, reference(suite), at, limits)
    return Round(version, at, tuple(results), scores)


def lost(round_: Round, suites: Sequence[Encoded]) -> list[Encoded]:
    """Those of the round's suites that dropped."""
    names = {result.suite for result in round_.dropped}
    return [encoded for encoded in suites if encoded.suite.name in names]


def rollback_target(rows: Sequence[Row], snapshots: Mapping[int, str], passed: Sequence[int], current: int) -> int:
    """The newest version before `current` whose probes passed, that was not taken back and that can still be rebuilt;
    0 where there is none."""
    taken, versions = undone(rows), published(rows)
    good = sorted(v for v in passed if v < current and v in versions and v not in taken)
    return next((v for v in reversed(good) if _stands(rows, snapshots, v)), 0)


def _stands(rows: Sequence[Row], snapshots: Mapping[int, str], version: int) -> bool:
    try:
        way(rows, snapshots, version)
    except StateError:
        return False
    return True


def why(round_: Round) -> str:
    """One line that names what was forgotten."""
    lost = ", ".join(f"{r.suite} at {r.retention:.3f}" for r in round_.dropped if r.retention is not None)
    return f"version {round_.version} forgot: {lost} of its reference"
