"""A state folder as a daemon leaves it: a real store with an anchor, two steps, a rejected attempt, probes, tokens."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from edge_es.feedback import Event, Exchange, Prompt
from edge_es.ledger import Row, anchor_row, now
from edge_es.probes.verdicts import SuiteResult, Verdict
from service.store import Store


def result(version: int, suite: str, kind: str, score: float, verdict: Verdict) -> SuiteResult:
    return SuiteResult(version, suite, kind, 4, score, 1.0, score, score - 0.1, score + 0.1, verdict, now())


def event(number: int) -> Event:
    exchange = Exchange(Prompt.user(f"q{number}"), f"a{number}")
    return Event(f"00000000-0000-4000-8000-{number:012d}", "demonstration", (exchange,))


def step(attempt: int, version: int | None, parent: int, events: tuple[str, ...]) -> Row:
    digest = hashlib.sha256(str(version).encode()).hexdigest()
    row = Row(attempt, version, parent, "step", now(), events, 4, 1, attempt, sha256=digest)
    stats = {"fitness_mean": -1.5, "fitness_reliability": 0.5, "step_norm": 0.25, "delta_norm": 0.5 * attempt}
    return replace(row, stats=stats, reason=None if version is not None else "no signal: all members tie")


def fill(folder: Path) -> Path:
    """Makes the folder and closes it."""
    with Store(folder) as store:
        store.bind_model("pocket", "nf4", "ab" * 32)
        store.append(anchor_row(), {})
        for number in range(4):
            store.add_event(event(number), {"n": number}, held_out=number == 3)
        store.append(step(1, 1, 0, (event(0).id, event(1).id)), {})
        store.append(step(2, None, 1, (event(1).id,)), {})
        store.append(step(3, 2, 1, (event(1).id, event(2).id)), {})
        for version, score, verdict in ((0, 1.0, "kept"), (2, 0.75, "dropped")):
            rows = [result(version, "add", kind, score, verdict) for kind in ("generation", "loglik")]
            items = {"add": [1.0, 1.0, 1.0, 1.0 if version == 0 else 0.0]}
            store.save_probe(version, now(), rows, items)
    (folder / "tokens.json").write_text(json.dumps({"chat": "c" * 43, "admin": "a" * 43}))
    return folder


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file's hash and time of change."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
