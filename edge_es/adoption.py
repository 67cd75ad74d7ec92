"""Learning that goes on from a delta made elsewhere: an imported adapter or delta as a version of its own.

Its blob is the whole delta, so that the version replays bit for bit without the folder that it came from. Version 0
stays the anchor, which a rollback goes back to.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from edge_es.errors import StateError
from edge_es.ledger import Journal, Row, head, now
from edge_es.spaces.delta import Delta, pack


def adopt(journal: Journal, delta: Delta, reason: str, stats: Mapping[str, Any] | None = None) -> Row:
    """Appends the row of kind `import` that makes `delta` (on any device) the newest version; durable when it returns.

    Raises StateError for an empty delta, and where something was learned already: an import would silently replace it.
    """
    if not delta.parts:
        raise StateError("what is to be imported has learned nothing: it is the model as first loaded; name another")
    rows = journal.rows()
    newest = head(rows)
    assert newest.version is not None
    if newest.sha256 != Delta().sha256:
        raise StateError(
            f"version {newest.version} has learned something that an import would replace; `edge-es rollback 0` goes "
            "back to the model as first loaded, then import"
        )
    blob = pack(delta)
    name = hashlib.sha256(blob).hexdigest()
    row = Row(
        attempt=rows[-1].attempt + 1,
        version=newest.version + 1,
        parent=newest.version,
        kind="import",
        created_at=now(),
        side=name,
        sha256=delta.sha256,
        stats={**(stats or {}), "delta_norm": delta.norm(), "sparsity": delta.sparsity()},
        reason=reason,
    )
    journal.append(row, {name: blob})
    return row
