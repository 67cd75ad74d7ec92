"""The model at a glance: aggregates, nothing of what people wrote, so that it may be read without the admin token."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service import listings, sentences
from service.generation import LiveStatus
from service.history import History
from service.store import Store

WEEK = timedelta(days=7)
RESULT = ("suite", "version", "kind", "items", "score", "anchor", "retention", "ci_low", "ci_high", "verdict")


def overview(store: Store, history: History, live: LiveStatus | None, now: datetime | None = None) -> dict[str, Any]:
    """The answer of `GET /v1/overview`. live: None while the model is loading."""
    since = ((now or datetime.now(UTC)) - WEEK).isoformat()
    status = listings.status(store, live)
    attempts = history.attempts()
    recent = [one for one in attempts if one.at >= since and one.kind == "step"]
    rollbacks = [one for one in attempts if one.at >= since and one.kind == "rollback"]
    published = [one for one in recent if one.version is not None]
    week = {
        "published": len(published),
        "rejected": len(recent) - len(published),
        "rollbacks": len(rollbacks),
        "lessons": store.count_used_since(published[0].attempt) if published else 0,
    }
    results = [
        {**{key: row[key] for key in RESULT}, "learned": row["suite"].startswith("learned-")}
        for row in store.newest_results()
        if row["kind"] not in ("loglik", "acc")
    ]
    sizes = next((one for one in reversed(attempts) if one.version is not None), None)
    back = next((one.version for one in reversed(attempts) if one.kind == "rollback"), None)
    measured = store.get_setting("suite_digests") != {}
    answer, forgotten = sentences.forgotten(results, status["version"], measured, back)
    waiting = status["events"]["pending"]
    return {
        **{key: status[key] for key in ("model", "quantization", "device", "version", "learning", "events")},
        "ready": live is not None,
        "delta_norm": sizes.delta_norm if sizes else None,
        "walk_ratio": sizes.walk_ratio if sizes else None,
        "week": week,
        "forgotten": {"answer": answer, "sentence": forgotten},
        "learned": sentences.learned(week, store.scores_around(since), waiting),
        "suites": results,
    }
