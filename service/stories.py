"""The story of one rollback: which suites, which of their items changed, which events were set aside."""

from pathlib import Path
from typing import Any

from edge_es.config import Config
from edge_es.errors import InputError
from edge_es.probes.suites import Item, Suite, load_suite
from service.history import is_automatic
from service.probe_files import suite_paths
from service.store import Store

MOST_ITEMS, MOST_EVENTS = 200, 200  # that are told whole; the counts are of all


def story(store: Store, config: Config, version: int) -> dict[str, Any] | None:
    """The answer of `GET /v1/rollbacks/{version}`; None where that version is no rollback."""
    row = store.row_of(version)
    if row is None or row.kind != "rollback" or row.target is None:
        return None
    before = version - 1  # what was served until then
    suites = [one for one in store.probe_results(before) if one["kind"] not in ("loglik", "acc")]
    after = {one["suite"]: one for one in store.probe_results(version) if one["kind"] not in ("loglik", "acc")}
    lost = [one["suite"] for one in suites if one["verdict"] == "dropped"]
    items = [item for suite in lost for item in _changed(store, config, suite, before, version)]
    events = store.events_between(row.target + 1, before)
    told = events[:MOST_EVENTS]
    inputs = {event.id: event.exchanges[0].prompt.as_json() for event in store.events(told)}
    fates = store.event_fates_of(told)
    return {
        "version": version,
        "target": row.target,
        "before": before,
        "at": row.created_at,
        "reason": row.reason,
        "automatic": is_automatic(row),
        "first_bad": row.stats.get("first_bad"),
        "last_good": row.stats.get("last_good"),
        "suites": [
            {
                **{key: one[key] for key in ("suite", "kind", "items", "retention", "ci_low", "ci_high", "verdict")},
                "after": after[one["suite"]]["retention"] if one["suite"] in after else None,
            }
            for one in suites
        ],
        "items": items[:MOST_ITEMS],
        "items_changed": len(items),
        "events": [
            {"id": fate.id, "kind": fate.kind, "state": fate.state, "reason": fate.reason, "input": inputs.get(fate.id)}
            for fate in fates
        ],
        "events_used": len(events),
    }


def _changed(store: Store, config: Config, suite: str, before: int, after: int) -> list[dict[str, Any]]:
    """The items whose score is not the anchor's; those that lost most first."""
    reference, scores = store.item_scores(0, suite) or [], store.item_scores(before, suite) or []
    now = store.item_scores(after, suite) or []
    known = _items(store, config, suite)
    found = []
    for i, (anchor, score) in enumerate(zip(reference, scores, strict=False)):
        if anchor == score:
            continue
        item = known[i] if i < len(known) else None
        found.append(
            {
                "suite": suite,
                "item": i,
                "asked": _asked(item) if item else None,
                "right": _right(item) if item else None,
                "anchor": anchor,
                "before": score,
                "after": now[i] if i < len(now) else None,
            }
        )
    return sorted(found, key=lambda one: one["before"] - one["anchor"])


def _items(store: Store, config: Config, name: str) -> tuple[Item, ...]:
    """Those that the scores are of; none where their file is gone or was edited since."""
    suite = _suite(store.folder, config, name)
    digests = store.get_setting("suite_digests") or {}
    return suite.items if suite is not None and digests.get(name) == suite.digest else ()


def _suite(folder: Path, config: Config, name: str) -> Suite | None:
    for path in suite_paths(config.model.ref, config, folder):
        if path.stem == name and path.is_file():
            try:
                return load_suite(path)
            except InputError:  # it was broken since: its items have no text to show
                return None
    return None


def _asked(item: Item) -> str | None:
    if item.prompt is None:
        return item.answer
    return item.prompt.text if item.prompt.text is not None else item.prompt.messages[-1].content


def _right(item: Item) -> str | None:
    if item.choices:
        return item.choices[item.label]
    return item.answer if item.prompt is not None else None
