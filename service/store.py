"""The state folder: the single truth about events, completions, versions and probes. Imports no torch.

edge-es.sqlite   everything but large values; its commit is the one point where something has happened
blobs/<sha256>   input sides, imported deltas and snapshots, durable before a row names them
lock             held by the one process that may write
tokens.json, daemon.json   written by the daemon (service.tokens, service.daemon)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_es.config import Config
from edge_es.errors import StateError
from service.clock import now
from service.completion_table import Answer, CompletionTable, StoredCompletion
from service.database import DiskFull
from service.event_table import Conflict
from service.fate_table import Fate
from service.ledger_table import LedgerTable
from service.probe_table import ProbeTable
from service.review_table import ReviewTable

__all__ = [
    "Answer",
    "Conflict",
    "DiskFull",
    "Fate",
    "ModelBinding",
    "Store",
    "StoredCompletion",
    "state_folder",
]


def state_folder(config: Config) -> Path:
    """The configured state folder, or the user's data folder."""
    if config.state.dir:
        return Path(config.state.dir).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("edge-es", appauthor=False))


@dataclass(frozen=True)
class ModelBinding:
    """The base that a state folder belongs to."""

    ref: str
    quantization: str
    sha256: str
    bound_at: str


class Store(ReviewTable, LedgerTable, CompletionTable, ProbeTable):
    """The state folder, opened. Methods may be called from any thread."""

    # what the folder belongs to

    def bind_model(self, ref: str, quantization: str, sha256: str) -> None:
        """Ties the folder to the base it first saw. Raises StateError naming both if it belongs to another."""
        bound = self.model_binding()
        if bound is None:
            pairs = {"model": ref, "quantization": quantization, "base_sha256": sha256, "bound_at": now()}
            with self.transaction() as db:
                db.executemany("INSERT INTO meta VALUES (?, ?)", pairs.items())
            return
        if bound.sha256 == sha256:
            return
        mine, theirs = f"{ref} ({quantization})", f"{bound.ref} ({bound.quantization})"
        if mine == theirs:
            mine += f" with other weights ({sha256[:12]} instead of {bound.sha256[:12]})"
        raise StateError(
            f"state folder {self.folder} belongs to model {theirs}, not to {mine}; take another by --state-dir"
        )

    def model_binding(self) -> ModelBinding | None:
        """The base that this folder's versions belong to, once there is one."""
        found = {row["key"]: row["value"] for row in self.query("SELECT key, value FROM meta")}
        if not found:
            return None
        return ModelBinding(found["model"], found["quantization"], found["base_sha256"], found["bound_at"])

    # what the daemon remembers

    def get_setting(self, key: str) -> Any:
        """A remembered JSON value, or None."""
        row = self.query_one("SELECT value FROM settings WHERE key = ?", key)
        return json.loads(row["value"]) if row else None

    def put_setting(self, key: str, value: Any) -> None:
        """Remembers a JSON value; durable when it returns."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        with self.transaction() as db:
            db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, text),
            )
