"""The rows that scripts rely on, computed from a store alone, so that API and CLI agree, daemon running or not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.generation import LiveStatus
from service.store import Store

if TYPE_CHECKING:
    from edge_es.ledger import Row

STATS = ("fitness_mean", "fitness_reliability", "tie_rate", "novelty_share")
SIZES = ("step_norm", "delta_norm", "walk_ratio", "sparsity")
SUITE = ("suite", "kind", "items", "version", "score", "anchor", "retention", "verdict")
MEMORY = ("budget_bytes", "base_bytes", "peak_bytes", "batches_halved")


def versions(store: Store) -> list[dict[str, Any]]:
    """The rows of `edge-es versions`, oldest first; rejected attempts too."""
    rows = store.rows()
    undone = _undone(rows)
    return [
        {
            "attempt": row.attempt,
            "version": row.version,
            "parent": row.parent,
            "kind": row.kind,
            "created_at": row.created_at,
            "events": list(row.events),
            "population": row.population,
            **{name: row.stats.get(name) for name in (*STATS, *SIZES)},
            "sha256": row.sha256,
            "state": "rejected" if row.version is None else "rolled_back" if row.version in undone else "published",
            "reason": row.reason,
        }
        for row in rows
    ]


def _undone(rows: Sequence["Row"]) -> set[int]:
    """Versions that a later rollback took back."""
    from edge_es.ledger import undone

    return set(undone(rows))


def retention_log(store: Store, version: int | None = None, suite: str | None = None) -> list[dict[str, Any]]:
    """The rows of `edge-es retention log`, oldest first."""
    return [row for row in store.probe_results(version) if suite is None or row["suite"] == suite]


def suites(store: Store) -> list[dict[str, Any]]:
    """The rows of `edge-es probe list`, by name: each suite's newest result, and without one those that the daemon has
    read and not scored yet."""
    known = [{key: row[key] for key in SUITE} for row in store.newest_results()]
    scored, read = {row["suite"] for row in known}, store.get_setting("suites") or {}
    empty: dict[str, Any] = dict.fromkeys(SUITE)
    waiting = [{**empty, "suite": name, **told} for name, told in read.items() if name not in scored]
    return sorted([*known, *waiting], key=lambda row: (row["suite"], row["kind"]))


def retention_items(store: Store, version: int) -> list[dict[str, Any]]:
    """Item by item: [{suite, item, anchor, score}]. `anchor` is None where the anchor has no such item."""
    found = []
    for suite in store.probed_suites(version):
        scores, anchor = store.item_scores(version, suite) or [], store.anchor_scores(suite) or []
        reference: list[float | None] = [*anchor, *[None] * (len(scores) - len(anchor))]
        found += [{"suite": suite, "item": i, "anchor": reference[i], "score": score} for i, score in enumerate(scores)]
    return found


def blame(store: Store) -> list[dict[str, Any]]:
    """The rows of `edge-es retention blame`, oldest first: the rollbacks whose first bad version is known, with the
    events that it used."""
    rows = [row for row in store.rows() if row.kind == "rollback" and "first_bad" in row.stats]
    return [
        {
            "version": row.version,
            "target": row.target,
            **{name: row.stats[name] for name in ("first_bad", "last_good", "suites")},
            "events": [
                {"id": event.id, "kind": event.kind, "input": event.exchanges[0].prompt.as_json()}
                for event in store.events(row.stats["events"])
            ],
            "at": row.created_at,
            "reason": row.reason,
        }
        for row in rows
    ]


def status(store: Store, live: LiveStatus | None = None) -> dict[str, Any]:
    """The row of `edge-es status`. Without a running daemon: what it left in the store."""
    bound = store.model_binding()
    counts = store.count_events()
    machine = store.get_setting("machine") or {}
    pause = store.get_setting("learning") or {}
    memory = live.memory if live else machine.get("memory", {})
    why = machine.get("turned_off") or (pause.get("reason") if pause.get("paused") else None)
    learning, reason = ("paused", why) if why or pause.get("paused") else ("idle", None)
    return {
        "version": live.version if live else store.newest_version(),
        "model": live.model if live else bound.ref if bound else None,
        "quantization": live.quantization if live else bound.quantization if bound else None,
        "device": live.device if live else machine.get("device"),
        "learning": live.learning if live else learning,
        "reason": live.reason if live else reason,
        "events": {state: counts[state] for state in ("pending", "used", "set_aside", "review")},
        "memory": {key: memory.get(key) for key in MEMORY},
        "retention": _newest_retention(store.newest_results()),
    }


def _newest_retention(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """suite -> its newest result; of a suite with two, the answers themselves, not their likelihood."""
    newest: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = newest.get(row["suite"])
        if known and known["version"] == row["version"] and row["kind"] == "loglik":
            continue
        newest[row["suite"]] = row
    return {
        suite: {key: newest[suite][key] for key in ("score", "anchor", "retention", "verdict")}
        for suite in sorted(newest)
    }
