"""What the load benchmarks make of what they saw."""

import asyncio
import random

import httpx
import pytest

from edge_es.errors import EdgeError
from service.load.phases import Phase, compared, summary
from service.load.soak import BLOCKS, Sample, slope, slopes
from service.load.traffic import Asked, ask


def noise(seed: int, count: int, step: float = 0.0) -> list[float]:
    rng = random.Random(seed)
    return [100 + step * i + rng.gauss(0, 1) for i in range(count)]


def test_noise_is_flat_and_a_leak_is_not() -> None:
    flat = sum(slope(noise(seed, 400)).flat for seed in range(200))
    assert 180 <= flat <= 200, "95 of 100"
    found = slope(noise(0, 400, step=0.02))
    assert not found.flat and found.change == pytest.approx(0.02 * 300, abs=found.half_width)
    assert found.start == pytest.approx(100 + 0.02 * 107, abs=1)


def test_what_happens_in_the_warm_up_is_no_slope() -> None:
    values = [float(min(i, 100)) for i in range(400)]
    assert slope(values).change == 0 and slope(values).flat


def test_too_few_rounds() -> None:
    with pytest.raises(EdgeError, match="at least 27"):
        slope([1.0] * BLOCKS)


def test_every_measure_has_a_slope() -> None:
    samples = [Sample(1000 * i, 7, 0.1, 0.2, i) for i in range(40)]
    found = slopes(samples)
    assert not found["resident"].flat and found["files"].flat and found["first"].flat and found["whole"].flat


def asked(status: int, *at: float) -> Asked:
    return Asked(10.0, status, [10 + each for each in at])


def phase(learning: bool, load: str, first: float, versions: int) -> Phase:
    used = {"serving": 1.0, "learning": 3.0, "waiting": 0.0}
    return summary(load, learning, 10.0, versions, used, [asked(200, first, first + 0.5), asked(429)])


def test_learning_against_none() -> None:
    phases = [phase(False, "2 requests/s", 0.1, 0), phase(True, "2 requests/s", 0.12, 5), phase(True, "idle", 0.0, 10)]
    found = compared(phases)
    assert found["first_token_p99_ms"]["ratio"] == pytest.approx(1.2)
    assert found["token_p99_ms"]["paused"] == pytest.approx(500)
    assert found["versions_per_second"] == {"idle": 1.0, "learning": 0.5, "ratio": 0.5}
    assert found["learning_share_of_device"]["idle"] == 0.75
    assert found["errors"] == {"429": 3}


def test_a_stream_that_ends_in_an_error_is_a_failure() -> None:
    good = 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'

    async def status(stream: str) -> tuple[int, int]:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, text=stream))
        async with httpx.AsyncClient(base_url="http://daemon", transport=transport) as client:
            found = await ask(client, {})
        return found.status, len(found.at)

    assert asyncio.run(status(f'{good}data: {{"choices": [], "usage": {{}}}}\n\ndata: [DONE]\n\n')) == (200, 1)
    assert asyncio.run(status(f'{good}data: {{"error": {{"message": "no"}}}}\n\ndata: [DONE]\n\n')) == (0, 1)
