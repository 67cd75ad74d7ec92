"""What became of the model over its versions, thinned to as many points as a picture has room for.

The ledger is read once and then from where it was left: it only ever grows, and what is compacted in it is not shown.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from service.store import Store

if TYPE_CHECKING:
    from edge_es.rows import Row

PAGE = 200  # rows that are read at one go
MARKS = 200  # rollbacks that are listed, the newest ones


@dataclass(frozen=True)
class Attempt:
    """The little of a ledger row that pictures show. fitness: raw mean by kind of event."""

    attempt: int
    version: int | None
    parent: int | None
    kind: str
    at: str
    events: int
    target: int | None
    automatic: bool
    step_norm: float | None
    delta_norm: float | None
    walk_ratio: float | None
    fitness: tuple[tuple[str, float], ...]


def _fitness(value: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(value, dict):
        return tuple((str(kind), float(mean)) for kind, mean in value.items() if mean is not None)
    return () if value is None else (("all", float(value)),)


def is_automatic(row: "Row") -> bool:
    """A rollback that the probes asked for: its reason is `retention.why`'s, of the version that was served before."""
    return (
        row.kind == "rollback"
        and row.version is not None
        and (row.reason or "").startswith(f"version {row.version - 1} forgot: ")
    )


def attempt_of(row: "Row") -> Attempt:
    """Of a ledger row."""
    sizes = {name: row.stats.get(name) for name in ("step_norm", "delta_norm", "walk_ratio")}
    return Attempt(
        attempt=row.attempt,
        version=row.version,
        parent=row.parent,
        kind=row.kind,
        at=row.created_at,
        events=len(row.events),
        target=row.target,
        automatic=is_automatic(row),
        fitness=_fitness(row.stats.get("fitness_mean")),
        **sizes,
    )


class History:
    """Methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []
        self._sizes: dict[int | None, tuple[float | None, float | None]] = {}  # version -> norm, walk ratio

    def attempts(self) -> Sequence[Attempt]:
        """All that there are now, oldest first; not to be changed."""
        with self._lock:
            while True:
                newest = self._attempts[-1].attempt if self._attempts else -1
                rows = self._store.rows_since(newest, PAGE)
                for row in rows:
                    self._add(attempt_of(row))
                if len(rows) < PAGE:
                    return self._attempts[:]

    def _add(self, one: Attempt) -> None:
        """A row that measured no delta has that of the version that it takes it from."""
        if one.delta_norm is None and one.version is not None:
            source = one.target if one.kind == "rollback" else one.parent
            norm, walk = self._sizes.get(source, (0.0, None))
            one = replace(one, delta_norm=norm, walk_ratio=walk)
        if one.version is not None:
            self._sizes[one.version] = (one.delta_norm, one.walk_ratio)
        self._attempts.append(one)

    def read(self, first: int, last: int | None, points: int) -> dict[str, Any]:
        """The answer of `GET /v1/history`: versions first..last (None: the newest), about `points` points a line."""
        attempts = self.attempts()
        made = [one for one in attempts if one.version is not None]
        newest = made[-1].version if made else 0
        assert newest is not None
        last = newest if last is None else min(last, newest)
        shown = [one for one in made if one.version is not None and first <= one.version <= last]
        width = max(1, -(-(last - first + 1) // points))
        return {
            "first": first,
            "last": last,
            "newest": newest,
            "norms": _norms(shown, width),
            "fitness": _fitness_lines(shown, width),
            "retention": _retention(self._store.lowest_retention(first, last, width)),
            "rollbacks": [
                {"version": one.version, "target": one.target, "at": one.at, "automatic": one.automatic}
                for one in shown
                if one.kind == "rollback"
            ][-MARKS:],
        }


def _buckets(shown: Sequence[Attempt], width: int) -> Iterable[list[Attempt]]:
    """Runs of `width` versions by number, so that a point does not move when versions are added."""
    found: dict[int, list[Attempt]] = {}
    for one in shown:
        assert one.version is not None
        found.setdefault(one.version // width, []).append(one)
    return found.values()


def _short(value: float | None) -> float | None:
    """As exact as any picture."""
    return None if value is None else float(f"{value:.5g}")


def _norms(shown: Sequence[Attempt], width: int) -> dict[str, Any]:
    """Of each run the last version."""
    last = [run[-1] for run in _buckets(shown, width)]
    names = ("delta_norm", "walk_ratio", "step_norm")
    return {
        "version": [one.version for one in last],
        **{name: [_short(getattr(one, name)) for one in last] for name in names},
    }


def _fitness_lines(shown: Sequence[Attempt], width: int) -> dict[str, Any]:
    """Of each run the mean of its steps, kind by kind."""
    runs = list(_buckets([one for one in shown if one.fitness], width))
    means: list[dict[str, float]] = []
    for run in runs:
        by_kind: dict[str, list[float]] = {}
        for one in run:
            for kind, mean in one.fitness:
                by_kind.setdefault(kind, []).append(mean)
        means.append({kind: sum(values) / len(values) for kind, values in by_kind.items()})
    kinds = sorted({kind for mean in means for kind in mean})
    return {
        "version": [run[-1].version for run in runs],
        "kinds": {kind: [_short(mean.get(kind)) for mean in means] for kind in kinds},
    }


def _retention(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a suite; a version that stands twice (it is the newest, and the lowest of its run) once."""
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault(row["suite"], {})[row["version"]] = row
    return [
        {
            "suite": suite,
            "learned": suite.startswith("learned-"),
            "version": list(line),
            **{name: [_short(row[name]) for row in line.values()] for name in ("retention", "ci_low", "ci_high")},
        }
        for suite, line in lines.items()
    ]
