"""Which version forgot: bisection along the line from the last good version to the one whose probes dropped.

Imports no torch by itself and loads no model: who calls it says what a look is. Writes nothing, so that a search that
is dropped half-way has not begun. Of the deltas on the way two are held at once, the last good one and the one looked
at, however long the line is: the next look goes on from the last good one, row by row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_es.errors import StateError
from edge_es.ledger import Journal, Row, apply_row, line, published, rebuilding
from edge_es.slices import Slices

if TYPE_CHECKING:
    from edge_es.retention import Round
    from edge_es.spaces.delta import Delta

Look = Callable[[int, "Delta"], Slices["Round"]]  # probes a version's delta, which is on the CPU, on the lost suites


@dataclass(frozen=True)
class Stretch:
    """Versions that follow each other on a line and answer alike: the first one's change, then none."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> int:
        """The version that brought the change."""
        assert self.rows[0].version is not None
        return self.rows[0].version

    @property
    def last(self) -> int:
        """The version that is probed for all of them, and gone back to: it has the newest basis."""
        assert self.rows[-1].version is not None
        return self.rows[-1].version


@dataclass(frozen=True)
class Blame:
    """What a search found.

    target: the version to go back to: the one before `first_bad`; it is `last_good`, or was looked at and kept
    what was lost.
    suites: those that dropped. looked_at: version -> suite -> verdict. events: those that `first_bad` used. others:
    those that only others of the versions used that are taken back.
    """

    first_bad: int
    last_good: int
    target: int
    suites: tuple[str, ...]
    looked_at: Mapping[int, Mapping[str, str]]
    events: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def suspects(self) -> dict[str, tuple[str, ...]]:
        """What is said of the events that are set aside -> their ids."""
        return {
            f"the suspect, used by version {self.first_bad}": self.events,
            f"taken back with version {self.first_bad}": self.others,
        }

    def stats(self) -> dict[str, Any]:
        """What the rollback's row records; JSON has texts for keys."""
        return {
            "first_bad": self.first_bad,
            "last_good": self.last_good,
            "suites": list(self.suites),
            "looked_at": {str(version): dict(verdicts) for version, verdicts in self.looked_at.items()},
            "events": list(self.events),
        }


def first_bad(count: int, bad: Callable[[int], Slices[bool]]) -> Slices[int]:
    """The index, below `count`, of the first bad one in a row that begins good and is bad from somewhere on.

    The last one is known to be bad and what precedes the row to be good, so neither is looked at: at most
    ceil(log2(count)) calls of `bad`. Where good and bad alternate, it is a bad one that follows a good one.
    """
    good, known = -1, count - 1
    while known - good > 1:
        middle = (good + known) // 2
        if (yield from bad(middle)):
            known = middle
        else:
            good = middle
    return known


def stretches(start: Row, rows: Sequence[Row]) -> list[Stretch]:
    """A line behind `start` in stretches, without those that answer as `start` does. A new basis begins at zero, and a
    rollback has the delta of its target, which precedes it on the line."""
    found: list[list[Row]] = [[]]
    before = start.sha256
    for row in rows:
        if row.kind != "basis" and row.sha256 != before:
            found.append([])
        found[-1].append(row)
        before = row.sha256
    return [Stretch(tuple(some)) for some in found[1:]]


def search(
    journal: Journal, last_good: int, dropped: "Round", look: Look, whole: Look | None = None
) -> Slices[Blame | None]:
    """Which version after `last_good` first lost what `dropped` lost; None where nothing between them changes an
    answer. Yields between rows and inside looks.

    whole: probes all suites. The version before the first bad one kept what was lost later, but may have lost something
    else by then: if it did, `last_good` is gone back to.

    Raises StateError where the ledger does not fit (a version that is not on the line, or does not replay), and what a
    look raises.
    """
    rows = journal.rows()
    since = line(rows, dropped.version, last_good)
    way = stretches(published(rows)[last_good], since)
    if not way:
        return None
    held = yield from _rebuilt(journal, last_good)
    reached = last_good
    looked_at: dict[int, dict[str, str]] = {}

    def bad(index: int) -> Slices[bool]:
        nonlocal held, reached
        version = way[index].last
        delta = yield from _onward(journal, held, [row for row in since if reached < _version(row) <= version])
        found = yield from look(version, delta)
        looked_at[version] = _verdicts(found)
        # Beyond the tolerance is bad enough: of a slow decline, one just short of `dropped` is not gone back to.
        if set(looked_at[version].values()) - {"kept"}:
            return True
        held, reached = delta, version
        return False

    guilty = yield from first_bad(len(way), bad)
    target, culprit = last_good, way[guilty].first
    if guilty:  # the delta before it is still held: it was the newest good one
        before = way[guilty - 1].last
        looked_at[before] |= _verdicts((yield from whole(before, held))) if whole else {}
        target = before if set(looked_at[before].values()) == {"kept"} else last_good
    used = tuple(dict.fromkeys(event for row in since if _version(row) > target for event in row.events))
    suspects = next(row.events for row in since if row.version == culprit)
    return Blame(
        first_bad=culprit,
        last_good=last_good,
        target=target,
        suites=tuple(result.suite for result in dropped.dropped),
        looked_at=looked_at,
        events=tuple(dict.fromkeys(suspects)),
        others=tuple(event for event in used if event not in suspects),
    )


def _verdicts(found: "Round") -> dict[str, str]:
    """suite -> its own verdict, which comes first; what is scored beside it condemns nothing."""
    verdicts: dict[str, str] = {}
    for result in found.results:
        verdicts.setdefault(result.suite, result.verdict)
    return verdicts


def _rebuilt(journal: Journal, version: int) -> Slices["Delta"]:
    """`ledger.rebuild` in slices."""
    for row, delta in rebuilding(journal, version):
        if row.version == version:
            found = delta
        else:
            yield
    return found


def _onward(journal: Journal, delta: "Delta", rows: Sequence[Row]) -> Slices["Delta"]:
    """The delta after `rows`, which follow on a line, checked against the last one's sha256."""
    for row in rows:
        if row.kind != "rollback":  # on a line it follows its target
            delta = apply_row(delta, row, {}, journal)
        yield
    return _checked(rows[-1], delta)


def _checked(row: Row, delta: "Delta") -> "Delta":
    if delta.sha256 != row.sha256:
        raise StateError(f"version {row.version} does not replay to its recorded delta; run `edge-es verify`")
    return delta


def _version(row: Row) -> int:
    assert row.version is not None
    return row.version
