"""The append-only record from which every version can be rebuilt bit for bit.

A row is one attempt: published (it has a version) or rejected by a gate (it has none, and stays as a record). Steps
are replayed by elementwise fp32 arithmetic alone; input sides, consolidations and imports are stored blobs, since
they come from eigendecompositions, which differ between machines. Knows no database: a `Journal` keeps the rows.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edge_es.errors import StateError

if TYPE_CHECKING:
    from edge_es.spaces.delta import Delta

Kind = Literal["anchor", "step", "rollback", "basis", "consolidate", "import"]


@dataclass(frozen=True)
class Row:
    """One attempt.

    shaped: the members' shaped fitness as hexadecimal floats, pair by pair, plus before minus. pairs: the numbers of
    those pairs, where they are not 0, 1, 2, ...: the ones that a live step was given ratings of.
    alpha, sigma: hexadecimal floats. guards: scalars of the step as hexadecimal floats (`strategy.apply`).
    side: sha256 of the blob with the basis (an adapter's input side) that a step uses, or that a basis or consolidate
    row brings.
    sha256: of the delta after the row. target: of a rollback, the version whose delta it takes.
    stats: what was measured on the way; None where it does not apply. `fitness_mean` holds a mean per event kind.
    """

    attempt: int
    version: int | None
    parent: int | None
    kind: Kind
    created_at: str
    events: tuple[str, ...] = ()
    population: int = 0
    seed: int = 0
    step: int = 0
    generator: str = ""
    shaped: tuple[str, ...] = ()
    alpha: str = ""
    sigma: str = ""
    guards: Mapping[str, str] = field(default_factory=dict)
    side: str | None = None
    sha256: str | None = None
    stats: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    target: int | None = None
    pairs: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Row":
        """The inverse of `as_json`."""
        lists = {name: tuple(value.get(name, ())) for name in ("events", "shaped", "pairs")}
        return Row(**{**value, **lists})


class Journal(Protocol):
    """What the ledger needs of a store."""

    def rows(self) -> list[Row]:
        """All attempts, oldest first."""
        ...

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        """Durable and atomic when it returns: the blobs first, then the row with its events' uses."""
        ...

    def blob(self, sha256: str) -> bytes:
        """The stored bytes. Raises StateError if they are absent or do not hash to their name."""
        ...


class MemoryJournal:
    """A journal without a disk, for library use and tests."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._blobs: dict[str, bytes] = {}

    def rows(self) -> list[Row]:
        return list(self._rows)

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        json.dumps(row.as_json(), allow_nan=False)  # what no journal on a disk could keep is refused here, too
        self._blobs.update(blobs)
        self._rows.append(row)

    def blob(self, sha256: str) -> bytes:
        return self._blobs[sha256]


def now() -> str:
    """UTC, ISO 8601, to the microsecond."""
    return datetime.now(UTC).isoformat()


def anchor_row() -> Row:
    """Version 0: the model as first loaded."""
    empty = hashlib.sha256().hexdigest()
    return Row(attempt=0, version=0, parent=None, kind="anchor", created_at=now(), sha256=empty)


def published(rows: Sequence[Row]) -> dict[int, Row]:
    """version -> row."""
    return {row.version: row for row in rows if row.version is not None}


def head(rows: Sequence[Row]) -> Row:
    """The newest published row. Raises StateError for an empty ledger."""
    for row in reversed(rows):
        if row.version is not None:
            return row
    raise StateError("the ledger is empty; start the daemon once on this state folder")


def undone(rows: Sequence[Row]) -> dict[int, int]:
    """version -> the first rollback that took it back."""
    taken: dict[int, int] = {}
    for row in rows:
        if row.kind == "rollback" and row.version is not None and row.target is not None:
            for version in range(row.target + 1, row.version):
                taken.setdefault(version, row.version)
    return taken


def line(rows: Sequence[Row], version: int, since: int) -> list[Row]:
    """The rows that made the delta of `version` from that of `since`, oldest first, without `since`'s own.

    It is the way back from `version`; a rollback goes on at its target, so what it took back is not on the line.
    Raises StateError where `since` is not on it, or a version is missing.
    """
    versions, at = published(rows), version
    found: list[Row] = []
    while at > since and at in versions:
        row = versions[at]
        found.append(row)
        before = row.target if row.kind == "rollback" else row.parent
        at = -1 if before is None else before
    if at != since:
        raise StateError(f"version {since} is not on the line of version {version}; `edge-es versions` lists both")
    return found[::-1]


def apply_row(delta: "Delta", row: Row, earlier: Mapping[int, "Delta"], journal: Journal) -> "Delta":
    """The delta after `row`, from the delta of its parent. Raises StateError where the ledger does not fit."""
    from edge_es import noise, strategy
    from edge_es.spaces.blob import unpack
    from edge_es.spaces.delta import Delta

    if row.kind == "anchor":
        return Delta()
    if row.kind == "rollback":
        assert row.target is not None
        return earlier[row.target]
    if row.kind == "basis":
        assert row.side is not None
        return delta.with_basis(unpack(journal.blob(row.side)).parts[0].basis)
    if row.kind in ("consolidate", "import"):
        assert row.side is not None
        return unpack(journal.blob(row.side))
    if row.generator != noise.GENERATOR:
        raise StateError(
            f"version {row.version} was made with noise generator {row.generator}, this is {noise.GENERATOR}; "
            "use the release that wrote it"
        )
    if row.side != delta.active.basis.sha256:
        raise StateError(f"version {row.version} used basis {row.side}, the replay is at another")
    shaped = [float.fromhex(value) for value in row.shaped]
    guards = {name: float.fromhex(value) for name, value in row.guards.items()}
    return strategy.apply(delta, row.seed, row.step, shaped, float.fromhex(row.alpha), guards, row.pairs)


def replay(journal: Journal, upto: int | None = None) -> Iterator[tuple[Row, "Delta"]]:
    """Each published row with its rebuilt delta, on the CPU, oldest first, to version `upto`."""
    from edge_es.spaces.delta import Delta

    rows = published(journal.rows())
    # Only deltas that a later rollback goes back to are kept, so memory does not grow with the ledger.
    targets = {row.target for row in rows.values()}
    earlier: dict[int, Delta] = {}
    delta = Delta()
    for version in sorted(rows):
        if upto is not None and version > upto:
            return
        delta = apply_row(delta, rows[version], earlier, journal)
        if version in targets:
            earlier[version] = delta
        yield rows[version], delta


def rebuild(journal: Journal, version: int) -> "Delta":
    """The delta of one version, checked against its recorded sha256. Raises StateError."""
    for row, delta in replay(journal, version):
        if row.version == version:
            if delta.sha256 != row.sha256:
                raise StateError(f"version {version} does not replay to its recorded delta; run `edge-es verify`")
            return delta
    raise StateError(f"version {version} does not exist; `edge-es versions` lists what does")


def verify(journal: Journal) -> dict[str, int]:
    """Replays everything: {"versions", "replayed", "mismatches"}."""
    versions = len(published(journal.rows()))
    replayed = mismatches = 0
    for row, delta in replay(journal):
        replayed += 1
        mismatches += delta.sha256 != row.sha256
    return {"versions": versions, "replayed": replayed, "mismatches": mismatches}


def rollback_row(journal: Journal, target: int, reason: str, stats: Mapping[str, Any] | None = None) -> Row:
    """The row that takes the delta of version `target` as a new version. `stats`: what was found out on the way to it
    (`bisection.Blame.stats`). Raises StateError if there is no such version."""
    rows = journal.rows()
    versions = published(rows)
    newest = head(rows)
    assert newest.version is not None
    if target not in versions:
        raise StateError(f"version {target} does not exist; `edge-es versions` lists what does")
    if target == newest.version:
        raise StateError(f"version {target} is the one that is served; name an earlier one")
    return Row(
        attempt=rows[-1].attempt + 1,
        version=newest.version + 1,
        parent=newest.version,
        kind="rollback",
        created_at=now(),
        sha256=versions[target].sha256,
        stats=stats or {},
        reason=reason,
        target=target,
    )


def rollback(journal: Journal, target: int, reason: str, stats: Mapping[str, Any] | None = None) -> Row:
    """Appends `rollback_row`: a new version with an old delta, never a rewrite of history."""
    row = rollback_row(journal, target, reason, stats)
    journal.append(row, {})
    return row
