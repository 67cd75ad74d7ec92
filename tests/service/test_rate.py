"""How often one client may ask."""

from collections.abc import Callable
from typing import Any

import pytest
from echo_daemon import Daemon, refused
from hypothesis import given
from hypothesis import strategies as st

from service.rate import Buckets, client_of
from service.tokens import Tokens

TOKENS = Tokens("c" * 43, "a" * 43)


def scope(host: str | None, authorization: str | None = None, **headers: str) -> dict[str, Any]:
    given_ = {**headers, **({"authorization": authorization} if authorization else {})}
    pairs = [(name.encode(), value.encode()) for name, value in given_.items()]
    return {"type": "http", "client": (host, 1) if host else None, "headers": pairs}


def test_a_bucket_holds_a_minutes_worth_and_fills_again() -> None:
    buckets = Buckets(rate=6)
    assert [buckets.take("a", 0.0) for _ in range(7)] == [0] * 6 + [10]
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 4.0) == pytest.approx(6)
    assert buckets.take("a", 10.0) == 0
    assert buckets.take("a", 10.0) > 0
    assert [buckets.take("a", 1000.0) for _ in range(7)][:6] == [0] * 6


@given(st.integers(1, 100), st.lists(st.floats(0, 20), min_size=1, max_size=300))
def test_never_more_than_the_rate_and_who_waits_as_told_is_admitted(rate: int, pauses: list[float]) -> None:
    buckets, now, admitted = Buckets(rate), 0.0, 0
    for pause in pauses:
        now += pause
        wait = buckets.take("a", now)
        admitted += wait == 0
        if wait:
            assert 0 < wait <= 60 / rate + 1e-6
    assert admitted <= rate + now * rate / 60 + 1e-6
    wait = buckets.take("a", now)
    assert wait == 0 or buckets.take("a", now + wait + 1e-6) == 0


def test_memory_is_bounded_and_the_busiest_is_remembered() -> None:
    buckets = Buckets(rate=1, most=10)
    assert buckets.take("busy", 0.0) == 0
    for number in range(1000):
        buckets.take(f"address {number}", 0.0)
        assert buckets.take("busy", 0.0) > 0
    assert len(buckets) == 10


def test_who_a_client_is() -> None:
    def who(*arguments: Any, **headers: str) -> str:
        return client_of(scope(*arguments, **headers), TOKENS)

    assert who("10.0.0.1", f"Bearer {TOKENS.admin}") == who("10.0.0.2", f"bearer {TOKENS.admin}") == "token admin"
    assert who("10.0.0.1", f"Bearer {TOKENS.chat}") == "token chat"
    assert who("10.0.0.1", "Bearer invented-1") == who("10.0.0.1", "Bearer invented-2") == who("10.0.0.1")
    assert who("10.0.0.1", **{"x-forwarded-for": "10.9.9.9"}) == who("10.0.0.1") != who("10.0.0.2")
    assert who("2001:db8::1") == who("2001:db8::ffff:1") != who("2001:db8:0:1::1")
    assert who("fe80::1%eth0") == who("fe80::2%eth0")
    assert who(None) == "address unknown"


def test_the_daemon_answers_429_until_the_minute_allows_more(serving: Callable[..., Daemon]) -> None:
    daemon = serving(serve={"rate": 3})
    for _ in range(3):
        assert daemon.stranger.get("/v1/models").status_code == 200
    answer = daemon.stranger.get("/v1/models")
    refused(answer, 429, code="rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    refused(daemon.stranger.get("/nowhere"), 429)
    refused(daemon.stranger.get("/v1/models", headers={"Authorization": "Bearer invented"}), 429)
    assert daemon.client.get("/v1/status").status_code == 200, "who holds a token has a bucket of its own"
    for path in ("/healthz", "/readyz", "/dashboard/style.css"):
        assert daemon.stranger.get(path).status_code == 200
    assert 'status="429"' in daemon.client.get("/metrics").text


def test_foreign_pages_do_not_use_up_the_users_rate(serving: Callable[..., Daemon]) -> None:
    daemon = serving(serve={"rate": 1})
    for _ in range(5):
        refused(daemon.stranger.get("/v1/models", headers={"Origin": "https://evil.example"}), 403)
    assert daemon.stranger.get("/v1/models").status_code == 200
