"""The bars that the demo is held to, and the verdict computed from what was measured. Knows no daemon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.demo.measure import Round

HARMED = 0.95  # retention under which a suite counts as harmed


@dataclass(frozen=True)
class Measured:
    """Everything the story measured. Retentions are of the generative prior suites."""

    before: float
    after: float
    steps: int
    seconds: float
    retention: Mapping[str, float]
    detected_after_probes: int | None
    rolled_back_to: int | None
    at_worst: float
    recovered: Mapping[str, float]
    task_after: float
    base_hashes: tuple[str, ...]
    mismatches: int
    resumed: bool


@dataclass(frozen=True)
class Bar:
    """One line of the verdict."""

    what: str
    bar: str
    measured: str
    met: bool


def detection(found: Sequence[Round]) -> int | None:
    """Of the probe rounds since an attack began: which one dropped a suite, counted from the first in which a
    suite was under HARMED (1: that very round, or an earlier one). None where no round dropped one."""
    harmed = [i for i, r in enumerate(found) if r.worst < HARMED]
    dropped = [i for i, r in enumerate(found) if r.dropped]
    if not dropped:
        return None
    first = min(harmed[0], dropped[0]) if harmed else dropped[0]
    return dropped[0] - first + 1


def bars(m: Measured) -> list[Bar]:
    """The bars of the table "Must show", each judged."""
    worst, mean = min(m.retention.values()), sum(m.retention.values()) / len(m.retention)
    recovered = min(m.recovered.values())
    same = len(set(m.base_hashes)) == 1
    rolled_back = m.rolled_back_to is not None
    detected = m.detected_after_probes
    return [
        Bar("task before", "<= 0.1", f"{m.before:.3f}", m.before <= 0.1),
        Bar("task after", ">= 0.9", f"{m.after:.3f}", m.after >= 0.9),
        Bar("seconds", "<= 300", f"{m.seconds:.0f}", m.seconds <= 300),
        Bar("worst suite after learning", ">= 0.98", f"{worst:.3f}", worst >= 0.98),
        Bar("mean of the suites", ">= 0.99", f"{mean:.3f}", mean >= 0.99),
        Bar("restart resumes the version", "yes", "yes" if m.resumed else "no", m.resumed),
        Bar("attack harms a suite", f"< {HARMED}", f"{m.at_worst:.3f}", m.at_worst < HARMED),
        Bar("probes to detect it", "1 or 2", str(detected), detected in (1, 2)),
        Bar("rolled back", "yes", f"to version {m.rolled_back_to}" if rolled_back else "no", rolled_back),
        Bar("worst suite afterwards", ">= 0.98", f"{recovered:.3f}", recovered >= 0.98),
        Bar("task afterwards", ">= 0.85", f"{m.task_after:.3f}", m.task_after >= 0.85),
        Bar("base", "unchanged", m.base_hashes[0][:12] if same else "CHANGED", same),
        Bar("versions that do not replay", "0", str(m.mismatches), m.mismatches == 0),
    ]


def as_json(m: Measured) -> dict[str, Any]:
    """The JSON of `edge-es demo`."""
    return {
        "task": {"before": m.before, "after": m.after, "steps": m.steps, "seconds": round(m.seconds, 1)},
        "retention": dict(m.retention),
        "attack": {
            "detected_after_probes": m.detected_after_probes,
            "rolled_back_to": m.rolled_back_to,
            "retention_at_worst": m.at_worst,
            "retention_after": min(m.recovered.values()),
            "task_after": m.task_after,
        },
        "base_unchanged": len(set(m.base_hashes)) == 1,
        "ok": all(bar.met for bar in bars(m)),
    }
