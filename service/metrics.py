"""Prometheus metrics, in a registry of their own: counters that the API moves, gauges that are read when asked."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
Status = Callable[[], dict[str, Any]]


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"edge_es_{name}", text, labels, registry=self.registry)

        self.requests = counter("requests", "HTTP requests", "method", "route", "status")
        self.feedback = counter("feedback", "Feedback events stored", "kind")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts answered")
        self.completion_tokens = counter("completion_tokens", "Tokens of answers")
        self.unstored = counter("completions_unstored", "Answers that the full disk could not keep for feedback")
        self.first_token = Histogram(
            "edge_es_first_token_seconds", "Seconds to an answer's first token", registry=self.registry
        )

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class StatusGauges(Collector):
    """The numbers of `GET /v1/status` as gauges."""

    def __init__(self, status: Status) -> None:
        self.status = status

    def describe(self) -> list[Any]:
        """Nothing in advance: the registry would otherwise ask for the status before there is one."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Reads the status now."""
        row = self.status()
        yield GaugeMetricFamily("edge_es_version", "Served version", value=row["version"] or 0)
        learning = GaugeMetricFamily("edge_es_learning", "1 for what learning does now", labels=["state"])
        for state in ("active", "idle", "paused"):
            learning.add_metric([state], float(row["learning"] == state))
        yield learning
        events = GaugeMetricFamily("edge_es_events", "Feedback events by state", labels=["state"])
        for state, number in row["events"].items():
            events.add_metric([state], number)
        yield events
        retention = GaugeMetricFamily("edge_es_retention", "Retention by suite", labels=["suite"])
        for suite, found in row["retention"].items():
            if found["retention"] is not None:
                retention.add_metric([suite], found["retention"])
        yield retention
        memory = GaugeMetricFamily("edge_es_memory_bytes", "Memory", labels=["kind"])
        for kind, size in row["memory"].items():
            if size is not None and kind.endswith("_bytes"):
                memory.add_metric([kind.removesuffix("_bytes")], size)
        yield memory
        halved = row["memory"]["batches_halved"]
        if halved is not None:
            yield CounterMetricFamily("edge_es_batches_halved", "Batches that ran out of memory", value=halved)


class DeviceSeconds(Collector):
    """The device's time by what it was used for: serving, learning, waiting."""

    def __init__(self, seconds: Callable[[], Mapping[str, float]]) -> None:
        self.seconds = seconds

    def describe(self) -> list[Any]:
        """Nothing in advance, as above."""
        return []

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Reads them now."""
        family = CounterMetricFamily("edge_es_device_seconds", "Seconds of the device by use", labels=["use"])
        for use, seconds in self.seconds().items():
            family.add_metric([use], seconds)
        yield family


class CountRequests:
    """ASGI: counts each request by its route (not its path: ids would make endless labels)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path_format", "(none)")
                method = (
                    scope["method"] if scope["method"] in METHODS else "(other)"
                )  # invented ones are endless labels too
                self.metrics.requests.labels(method, route, message["status"]).inc()
            await send(message)

        await self.app(scope, receive, counted)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self.start
