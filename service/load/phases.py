"""One daemon under one kind of load, with learning on and off in turn, so that a busy machine is busy for both.

The daemon is a child process as users start it, with feedback that lasts; what differs from its defaults is `SETTINGS`.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from service.demo.material import messages, task
from service.demo.process import Child, running
from service.load.traffic import Asked, closed_loop, open_loop

# The stream never ends, every step is published, and no probe round falls into one phase and not into the other.
SETTINGS = """\
[learn]
max_uses = 1000000
holdout = 0.0

[gates]
min_reliability = -1.0

[probes]
every = 1000000
"""
EVENTS = 256
TOKENS = 48
SETTLE = 2.0  # seconds between phases
PROBES = 600.0  # seconds that a probe round may take


@dataclass(frozen=True)
class Load:
    """rate: requests a second, open loop; clients: at once, closed loop; neither: nobody asks."""

    rate: float = 0.0
    clients: int = 0

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.rate:g} requests/s" if self.rate else f"{self.clients} clients" if self.clients else "idle"


@dataclass(frozen=True)
class Phase:
    """What one stretch gave. first, token: (median, 99th percentile) seconds to the first token and between tokens;
    requests: answered a second; versions: published a second; used: share of the device's time by what it was used
    for; errors: statuses that are not 200, and how many."""

    load: str
    learning: bool
    seconds: float
    count: int
    first: tuple[float, float]
    token: tuple[float, float]
    requests: float
    versions: float
    used: dict[str, float]
    errors: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    folder: Path, load: Load, seconds: float, rounds: int, seed: int, say: Callable[[str], None]
) -> list[Phase]:
    """`rounds` times: learning paused, learning on under the load, learning on with nobody asking."""
    plan = [(load, False), (load, True), (Load(), True)]
    with _taught(folder) as child:
        say("the daemon learns; warming up")
        _phase(child, load, True, min(10.0, seconds), seed)
        found = []
        for number in range(rounds):
            for of, learning in plan:
                found.append(_phase(child, of, learning, seconds, seed + number))
                say(_line(found[-1]))
        return found


@contextmanager
def _taught(folder: Path) -> Iterator[Child]:
    config = folder / "load.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    with running(folder / "state", folder / "daemon.log", ["--config", str(config)]) as child, _admin(child) as client:
        lines = [
            {"input": {"messages": messages(item.prompt)}, "metric_name": "demonstration", "value": item.answer}
            for item in task("train")[:EVENTS]
        ]
        for line in lines:
            client.post("/v1/feedback", json=line).raise_for_status()
        while client.get("/v1/status").json()["version"] < 3:
            time.sleep(0.2)
        yield child


def _admin(child: Child) -> httpx.Client:
    head = {"Authorization": f"Bearer {child.daemon.token}"}
    return httpx.Client(base_url=child.daemon.url, headers=head, trust_env=False, timeout=60)


def _phase(child: Child, load: Load, learning: bool, seconds: float, seed: int) -> Phase:
    bodies = [{"model": "pocket", "messages": messages(i.prompt), "max_tokens": TOKENS} for i in task("test")]
    with _admin(child) as client:
        client.post(f"/v1/learning/{'resume' if learning else 'pause'}", json={}).raise_for_status()
        if not learning:  # or the round that is due when learning pauses would fall into the phase
            client.post("/v1/probes/run", json={}, timeout=PROBES).raise_for_status()
        time.sleep(SETTLE)
        version, used, began = client.get("/v1/status").json()["version"], _used(client), time.perf_counter()
        if load.rate:
            asked = asyncio.run(open_loop(child.daemon.url, bodies, load.rate, seconds, seed))
        elif load.clients:
            asked = asyncio.run(closed_loop(child.daemon.url, bodies, load.clients, seconds, seed))
        else:
            asked = []
            time.sleep(seconds)
        lasted = time.perf_counter() - began
        made = client.get("/v1/status").json()["version"] - version
        spent = {use: seconds - used[use] for use, seconds in _used(client).items()}
    return summary(load.name, learning, lasted, made, spent, asked)


def _used(client: httpx.Client) -> dict[str, float]:
    """Seconds of the device so far, by use, from the daemon's metrics."""
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    return {sample.labels["use"]: sample.value for sample in families["edge_es_device_seconds"].samples}


def summary(
    load: str, learning: bool, seconds: float, versions: int, used: dict[str, float], asked: Sequence[Asked]
) -> Phase:
    """The phase that these requests make. used: seconds of the device, by use."""
    good = [one for one in asked if one.status == 200]
    statuses = [str(one.status) for one in asked if one.status != 200]
    return Phase(
        load=load,
        learning=learning,
        seconds=seconds,
        count=len(asked),
        first=_percentiles([one.first for one in good if one.first is not None]),
        token=_percentiles([gap for one in good for gap in one.gaps]),
        requests=len(good) / seconds,
        versions=versions / seconds,
        used={use: spent / max(1e-9, sum(used.values())) for use, spent in used.items()},
        errors={status: statuses.count(status) for status in sorted(set(statuses))},
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    return (float(np.percentile(values, 50)), float(np.percentile(values, 99))) if values else (0.0, 0.0)


def _line(phase: Phase) -> str:
    return (
        f"{phase.load}, learning {'on' if phase.learning else 'off'}: first token {1e3 * phase.first[1]:.0f} ms, "
        f"token {1e3 * phase.token[1]:.0f} ms (99th percentiles), {phase.requests:.2f} answers/s, "
        f"{phase.versions:.2f} versions/s"
    )


def compared(phases: Sequence[Phase]) -> dict[str, Any]:
    """Medians over phases of a kind, and learning against none: the bars' figures. A ratio to nothing is None."""
    off = [one for one in phases if not one.learning]
    on = [one for one in phases if one.learning and one.load != "idle"]
    idle = [one for one in phases if one.learning and one.load == "idle"]

    def against(first: str, second: str, values: Sequence[float]) -> dict[str, float | None]:
        return {first: values[0], second: values[1], "ratio": values[1] / values[0] if values[0] else None}

    def median(some: Sequence[Phase], of: Callable[[Phase], float]) -> float:
        return statistics.median(map(of, some))

    first = [1e3 * median(some, lambda one: one.first[1]) for some in (off, on)]
    token = [1e3 * median(some, lambda one: one.token[1]) for some in (off, on)]
    throughput = [median(some, lambda one: one.requests) for some in (off, on)]
    rates = [median(some, lambda one: one.versions) for some in (idle, on)]
    return {
        "first_token_p99_ms": against("paused", "learning", first),
        "token_p99_ms": against("paused", "learning", token),
        "answers_per_second": against("paused", "learning", throughput),
        "learning_share_of_device": {"idle": median(idle, lambda one: one.used["learning"])},
        "versions_per_second": against("idle", "learning", rates),
        "errors": {key: sum(one.errors.get(key, 0) for one in phases) for one in phases for key in one.errors},
    }
