"""A state folder with a long past, made up but for its form: a real store, real rows, rounds and events.

The last row goes back to the anchor, whose delta is empty, so that a real daemon goes on from it: what came before is
never replayed.
"""

import hashlib
import json
import math
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_es import noise
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row, anchor_row
from edge_es.probes.verdicts import SuiteResult, Verdict
from service.store import Store

SUITES = ("add", "calendar", "compare", "count", "facts", "letters", "reverse", "sentences", "sort", "uppercase")
LEARNED = "learned-demonstration"
ITEMS = 400
PERIOD = 211  # versions from one rollback to the next
WORDS = ("please", "kindly", "quickly", "in French", "for a child", "with care", "as a poem")


def lesson(number: int, rng: random.Random) -> tuple[Event, dict[str, object]]:
    """A demonstration, and its body as it would have been sent."""
    prompt, answer = f"What is {rng.randint(2, 99)}+{rng.randint(2, 99)}, {rng.choice(WORDS)}?", f"It is {number}."
    one = str(uuid.UUID(int=(number << 64) + rng.getrandbits(40), version=4))
    body = {"input": {"prompt": prompt}, "metric_name": "demonstration", "value": answer, "tags": {"source": "phone"}}
    return Event(one, "demonstration", (Exchange(Prompt(text=prompt), answer),), tags={"source": "phone"}), body


def result(version: int, suite: str, score: float, at: str, verdict: Verdict) -> SuiteResult:
    """Of a suite of `ITEMS` items that the anchor answers at 0.9, or of what was taught, at 0.05."""
    anchor = 0.05 if suite == LEARNED else 0.9
    ratio, half = score / anchor, 0.25 / math.sqrt(ITEMS)
    if suite == LEARNED:
        ratio, anchor = score / max(score, 0.05), score
    return SuiteResult(
        version, suite, "generation", ITEMS, score, anchor, ratio, ratio - half, ratio + half, verdict, at
    )


def fill(folder: Path, versions: int, every: int, suites: tuple[str, ...] = SUITES, seed: int = 1) -> int:
    """Makes the folder and closes it. Returns the version of the last rollback for which a suite dropped.

    every: versions from a probe round to the next.
    """
    rng = random.Random(seed)
    begin = datetime.now(UTC) - timedelta(minutes=20 * (versions + 2))
    story = 0
    with Store(folder) as store, store.transaction():
        store.append(replace(anchor_row(), created_at=begin.isoformat()), {})
        norm, squares, attempt, drift = 0.0, 0.0, 0, dict.fromkeys(suites, 0.0)
        _round(store, 0, begin.isoformat(), suites, drift, rng)
        last_good, used = 0, []
        for version in range(1, versions):
            at = (begin + timedelta(minutes=20 * version)).isoformat()
            attempt += 1
            if rng.random() < 0.06:
                row = Row(attempt, None, version - 1, "step", at, reason="no signal: the members' fitness is noise")
                store.append(row, {})
                attempt += 1
            if version % PERIOD == PERIOD - 1 and last_good < version - 1:
                bad = rng.choice(suites)
                _round(store, version - 1, at, suites, drift, rng, bad)
                _back(store, attempt, version, last_good, at, bad, used)
                story, used, norm = version, [], norm * 0.93
                _round(store, version, at, suites, drift, rng)
                last_good = version
                continue
            ids = []
            for number in range(2):
                event, body = lesson(10 * version + number, rng)
                store.add_event(event, body, held_out=False)
                ids.append(event.id)
            used += ids
            step = 0.05 + 0.02 * rng.random()
            squares += step**2
            norm = min(3.0, norm + step * (0.35 + 0.2 * rng.random()) / (1 + norm))
            learned = 1 - math.exp(-version / (versions / 4))
            stats = {
                "fitness_mean": {
                    "demonstration": -2.4 + 2.1 * learned + rng.gauss(0, 0.12),
                    "rating": rng.gauss(0.2 * learned, 0.06),
                },
                "fitness_reliability": 0.5,
                "step_norm": step,
                "delta_norm": norm,
                "walk_ratio": norm / math.sqrt(squares),
            }
            digest = hashlib.sha256(str(version).encode()).hexdigest()
            shaped = tuple(rng.gauss(0, 1).hex() for _ in range(16))
            row = Row(
                attempt, version, version - 1, "step", at, tuple(ids), 16, 1, version, noise.GENERATOR, shaped,
                (0.5).hex(), (0.05).hex(), sha256=digest, stats=stats,
            )  # fmt: skip
            store.append(row, {})
            for suite in suites:
                drift[suite] = 0.98 * drift[suite] + rng.gauss(0, 0.0012)
            if version % every == 0:
                _round(store, version, at, suites, drift, rng)
                last_good = version
        at = (begin + timedelta(minutes=20 * versions)).isoformat()
        store.append(
            Row(
                attempt + 1,
                versions,
                versions - 1,
                "rollback",
                at,
                sha256=anchor_row().sha256,
                reason="a fresh start",
                target=0,
            ),
            {},
        )
        _round(store, versions, at, suites, dict.fromkeys(suites, 0.0), rng)
    return story


def _round(
    store: Store,
    version: int,
    at: str,
    suites: tuple[str, ...],
    drift: dict[str, float],
    rng: random.Random,
    bad: str = "",
) -> None:
    """One probe round; `bad` has dropped."""
    results, scores = [], {}
    for suite in suites:
        score = 0.9 * (1 + drift[suite] + rng.gauss(0, 0.001))
        verdict: Verdict = "kept"
        if suite == bad:
            score, verdict = 0.9 * (0.87 + 0.03 * rng.random()), "dropped"
        results.append(result(version, suite, score, at, verdict))
        scores[suite] = [float(i >= 9 if suite == bad else 1) for i in range(20)]
    learned = 0.05 + 0.85 * (1 - math.exp(-version / 1500))
    results.append(result(version, LEARNED, learned, at, "kept"))
    store.save_probe(version, at, results, scores)


def _back(store: Store, attempt: int, version: int, target: int, at: str, bad: str, used: list[str]) -> None:
    """A rollback that the probes asked for, and the events that it set aside."""
    reason = f"version {version - 1} forgot: {bad} at 0.880 of its reference; the first bad version is {target + 1}"
    stats = {"first_bad": target + 1, "last_good": target, "suites": [bad], "looked_at": {}, "events": used[:2]}
    digest = hashlib.sha256(json.dumps([target]).encode()).hexdigest()
    row = Row(attempt, version, version - 1, "rollback", at, sha256=digest, stats=stats, reason=reason, target=target)
    store.append(row, {})
    store.set_aside(
        store.events_between(target + 1, version - 1), f"the suspect, used by version {target + 1}: {reason}"
    )
