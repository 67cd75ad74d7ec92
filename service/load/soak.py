"""One daemon for long: rounds of requests, feedback and a learned version each, and whether it grows or slows down.

What it looks at are the daemon's resident memory, its open files and how long answers take, after every round.
"""

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from edge_es.errors import EdgeError
from service.demo.material import messages, task
from service.demo.process import Child, running
from service.load.traffic import closed_loop_of

# Every step is published and no rollback ends learning, since rounds wait for versions; and what is bounded over months
# is bounded by so little that it is full after the warm-up.
SETTINGS = """\
[learn]
max_uses = 4

[gates]
min_reliability = -1.0

[serve]
prefix_cache = "16MiB"

[rollback]
max_in_a_row = 1000

[state]
keep_events = 2000
keep_versions = 50
"""
CLIENTS = 4
TOKENS = 8
PATIENCE = 300.0  # seconds for a version
WARM = 0.25  # share of the rounds that is not looked at
BLOCKS = 20  # rounds are joined to so many, since what neighbours differ by is not independent
T_975 = 2.101  # Student's t of BLOCKS - 2 degrees of freedom


@dataclass(frozen=True)
class Sample:
    """After a round. resident: bytes; files: open descriptors; first, whole: seconds, medians of the round's requests
    to the first token and to the last; version: served."""

    resident: int
    files: int
    first: float
    whole: float
    version: int


def soak(
    folder: Path, requests: int, events: int, versions: int, seed: int, say: Callable[[str], None]
) -> list[Sample]:
    """`versions` rounds, each with its share of the requests and events and at least one version made of them.

    Raises EdgeError where a request fails, or no version comes in PATIENCE seconds.
    """
    config = folder / "soak.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    samples: list[Sample] = []
    with running(folder / "state", folder / "daemon.log", ["--config", str(config)]) as child:
        head = {"Authorization": f"Bearer {child.daemon.token}"}
        with httpx.Client(base_url=child.daemon.url, headers=head, trust_env=False, timeout=60) as client:
            for number in range(versions):
                samples.append(_round(child, client, number, requests // versions, events // versions, seed))
                if not (number + 1) % max(1, versions // BLOCKS):
                    say(f"round {number + 1} of {versions}: {_line(samples[-1])}")
    return samples


def _round(child: Child, client: httpx.Client, number: int, requests: int, events: int, seed: int) -> Sample:
    lessons, questions = task("train"), task("test")
    lines = []
    for at in range(number * events, (number + 1) * events):  # no two are alike, or they would be one
        item = lessons[at % len(lessons)]
        say = messages(f"{item.prompt} {at // len(lessons)}" if at >= len(lessons) else item.prompt)
        lines.append({"input": {"messages": say}, "metric_name": "demonstration", "value": item.answer})
    before = client.get("/v1/status").json()["version"]
    for line in lines:
        client.post("/v1/feedback", json=line).raise_for_status()
    bodies = [
        {"model": "pocket", "messages": messages(item.prompt), "max_tokens": TOKENS, "temperature": 1.0}
        for item in questions
    ]
    asked = asyncio.run(closed_loop_of(child.daemon.url, bodies, CLIENTS, requests, seed + number))
    if failed := [one.status for one in asked if one.status != 200]:
        raise EdgeError(
            f"round {number + 1}: {len(failed)} of {requests} requests failed, one of them with {failed[0]}"
        )
    deadline = time.monotonic() + PATIENCE
    while (version := client.get("/v1/status").json()["version"]) <= before:
        if time.monotonic() > deadline:
            raise EdgeError(f"round {number + 1}: no version after {PATIENCE:.0f} s: {client.get('/v1/status').text}")
        time.sleep(0.05)
    pid = child.process.pid
    return Sample(
        resident=_resident(pid),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        first=statistics.median(one.first or 0.0 for one in asked),
        whole=statistics.median(one.at[-1] - one.began for one in asked),
        version=version,
    )


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise EdgeError(f"process {pid} has ended")


def _line(sample: Sample) -> str:
    return (
        f"version {sample.version}, {sample.resident / 2**20:.0f} MiB, {sample.files} files, "
        f"first token {1e3 * sample.first:.0f} ms"
    )


@dataclass(frozen=True)
class Slope:
    """Of one measure over the rounds after the warm-up. start: mean of the first block. change: from the first round
    to the last, by the line, with the half-width of its 95% interval."""

    start: float
    change: float
    half_width: float

    @property
    def flat(self) -> bool:
        """The interval includes 0, or what rounding makes of it."""
        return abs(self.change) <= self.half_width + 1e-9 * abs(self.start)

    def as_json(self) -> dict[str, Any]:
        """With the verdict."""
        return {**asdict(self), "flat": self.flat}


def slope(values: Sequence[float]) -> Slope:
    """Least squares over the means of BLOCKS blocks; Student's t. Raises EdgeError for too few rounds."""
    used = values[math.ceil(len(values) * WARM) :]
    size = len(used) // BLOCKS
    if not size:
        raise EdgeError(
            f"{len(values)} rounds are too few to tell a slope; make at least {math.ceil(BLOCKS / (1 - WARM))}"
        )
    y = [statistics.fmean(used[i * size : (i + 1) * size]) for i in range(BLOCKS)]
    x = [i - (BLOCKS - 1) / 2 for i in range(BLOCKS)]
    middle, square = statistics.fmean(y), sum(each * each for each in x)
    steep = sum(a * b for a, b in zip(x, y, strict=True)) / square
    rest = sum((b - middle - steep * a) ** 2 for a, b in zip(x, y, strict=True)) / (BLOCKS - 2)
    return Slope(y[0], steep * BLOCKS, T_975 * math.sqrt(rest / square) * BLOCKS)


def slopes(samples: Sequence[Sample]) -> dict[str, Slope]:
    """Of every measure: resident (bytes), files, first and whole (seconds)."""
    return {
        name: slope([float(getattr(sample, name)) for sample in samples])
        for name in ("resident", "files", "first", "whole")
    }
