"""What the ledger says of a version, and how versions follow each other. Plain values: no journal, no tensor."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from edge_es.errors import StateError

Kind = Literal["anchor", "step", "rollback", "basis", "consolidate", "import"]
WHOLE = ("consolidate", "import")  # rows whose blob is the delta after them, whatever was before


@dataclass(frozen=True)
class Row:
    """One attempt.

    shaped: the members' shaped fitness as hexadecimal floats, pair by pair, plus before minus. pairs: the numbers of
    those pairs, where they are not 0, 1, 2, ...: the ones that a live step was given ratings of, or that came back from
    other machines.
    alpha, sigma: hexadecimal floats. guards: scalars of the step as hexadecimal floats (`strategy.apply`).
    side: sha256 of the blob with the basis (an adapter's input side) that a step uses, or that a basis or consolidate
    row brings.
    sha256: of the delta after the row. target: of a rollback, the version whose delta it takes.
    compacted: what a replay needs was dropped (`edge_es.compaction`); what the row says of the version stays.
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
    compacted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        return asdict(self)

    def stripped(self) -> "Row":
        """The row of a version that is not to be replayed any more."""
        return replace(self, shaped=(), pairs=(), guards={}, compacted=True)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Row":
        """The inverse of `as_json`."""
        lists = {name: tuple(value.get(name, ())) for name in ("events", "shaped", "pairs")}
        return Row(**{**value, **lists})


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


def way(rows: Sequence[Row], snapshots: Mapping[int, str], version: int) -> tuple[int, list[Row]]:
    """How a version is rebuilt: where that begins (a snapshot, or 0: the anchor, which is empty), and the rows after
    it on the version's line, oldest first. A row that brings a whole delta begins by itself.

    Raises StateError where the version does not exist, or was compacted.
    """
    versions, at = published(rows), version
    found: list[Row] = []
    while at and at not in snapshots:
        row = versions.get(at)
        if row is None:
            raise StateError(f"version {at} does not exist; `edge-es versions` lists what does")
        if row.compacted:
            raise StateError(compacted(version, rows, snapshots))
        found.append(row)
        before = row.target if row.kind == "rollback" else row.parent
        at = 0 if before is None or row.kind in WHOLE else before
    return at, found[::-1]


def compacted(version: int, rows: Sequence[Row], snapshots: Mapping[int, str]) -> str:
    """One line for who asks for a version that cannot be rebuilt any more."""
    return (
        f"version {version} was compacted away (state.keep_versions says how many are kept); what can be had are "
        f"version 0, the model as first loaded, and all from version {since(rows, snapshots)} on"
    )


def since(rows: Sequence[Row], snapshots: Mapping[int, str]) -> int:
    """The oldest version from which on all can be rebuilt."""
    gone = [row.version for row in rows if row.version is not None and row.compacted and row.version not in snapshots]
    return max(gone, default=-1) + 1
