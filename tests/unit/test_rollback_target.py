"""Where a rollback goes: to the newest good version that can still be rebuilt."""

from edge_es.ledger import Row, anchor_row
from edge_es.retention import rollback_target


def step(version: int) -> Row:
    return Row(version, version, version - 1, "step", "t")


def test_a_version_that_was_compacted_is_no_target() -> None:
    rows = [anchor_row(), *map(step, range(1, 9))]
    assert rollback_target(rows, {}, [0, 2, 4, 6], 8) == 6
    compacted = [rows[0], *(row.stripped() if (row.version or 0) < 7 else row for row in rows[1:])]
    assert rollback_target(compacted, {}, [0, 2, 4, 6], 8) == 0
    assert rollback_target(compacted, {4: "blob"}, [0, 2, 4, 6], 8) == 4
    assert rollback_target([*rows, Row(9, 9, 8, "rollback", "t", target=4)], {}, [0, 2, 4, 6], 9) == 4
