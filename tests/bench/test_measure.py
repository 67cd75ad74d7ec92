"""The counters that the bench's figures rest on."""

import time

import torch

from edge_es.bench.measure import alternate
from edge_es.meter import LiveBytes, peak_bytes

CPU = torch.device("cpu")


def test_live_bytes_are_those_alive_at_once() -> None:
    def work() -> None:
        first = torch.zeros(1000)  # 4000 bytes
        second = first + 1
        del first
        third = second * 2  # never more than two at once
        third[10:].add_(1)  # a view, and in place: nothing new

    assert peak_bytes(CPU, work) == 8000


def test_tensors_from_outside_and_their_views_count_nothing() -> None:
    weight = torch.randn(100, 100)
    assert peak_bytes(CPU, lambda: weight.T[:50].view_as(weight.T[:50])) == 0
    assert peak_bytes(CPU, lambda: weight.T @ torch.ones(100, 1)) == 800


def test_what_a_backward_pass_keeps_is_counted() -> None:
    start = torch.randn(1000, requires_grad=True)

    def work() -> None:
        x = start
        for _ in range(10):
            x = x.exp()  # each keeps its result for the backward pass
        x.sum().backward()

    assert 10 * 4000 <= peak_bytes(CPU, work) <= 15 * 4000


def test_what_was_made_inside_and_lives_on_is_counted_until_it_is_freed() -> None:
    with LiveBytes() as live:
        kept = torch.zeros(1000)
    assert live.now == live.peak == 4000
    del kept
    assert live.now == 0


def test_works_take_turns_after_a_round_that_does_not_count() -> None:
    calls: list[str] = []
    runs = alternate(CPU, {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert len(runs["a"].seconds) == len(runs["b"].seconds) == 2
    calls.clear()
    alternate(CPU, {"a": lambda: calls.append("a")}, 2, warm=lambda: calls.append("warm"))
    assert calls == ["warm", "a", "a"]


def test_what_is_quick_is_repeated_for_long_enough() -> None:
    runs = alternate(CPU, {"a": lambda: time.sleep(0.001), "b": lambda: None}, 1, least=0.01)
    assert sum(runs["a"].seconds) + sum(runs["b"].seconds) >= 0.01
    assert len(runs["a"].seconds) == len(runs["b"].seconds) >= 1
