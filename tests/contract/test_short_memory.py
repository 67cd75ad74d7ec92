"""Requests where memory runs out: what can be answered is answered, and nobody is answered twice or wrongly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edge_es.answers import Row, Sampling
from edge_es.decode import Decoder, generate
from edge_es.feedback import Prompt
from edge_es.model import Base, encode_prompt
from edge_es.slices import run
from edge_es.spaces.delta import Delta

QUESTIONS = ("Hi", "A longer question than the other one, is it not?")


def row(base: Base, question: str) -> Row:
    return Row(encode_prompt(base, Prompt.user(question)), Delta(), Sampling(8))


@contextmanager
def short(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> Iterator[None]:
    """The forward passes with these numbers run out of memory."""
    real, count = Decoder._forward, iter(range(10**6))

    def forward(self: Decoder, *arguments: Any, **options: Any) -> Any:
        if next(count) in calls:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return real(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "_forward", forward)
        yield


def again(decoder: Decoder) -> None:
    """Every call is made until it does not raise."""
    while decoder.readings or decoder.answers:
        for call in (lambda: decoder.read(8), decoder.step):
            while True:
                try:
                    call()
                    break
                except RuntimeError:
                    continue


@pytest.mark.parametrize("failing", [{0}, {1, 2}, {3}, {0, 2, 4, 6, 8, 10, 12}, set(range(0, 40, 3))])
def test_what_failed_may_be_called_again(base: Base, monkeypatch: pytest.MonkeyPatch, failing: set[int]) -> None:
    wanted = [row(base, question) for question in QUESTIONS]
    alone = [run(generate(base, [one]))[0].tokens for one in wanted]
    with short(monkeypatch, failing):
        decoder = Decoder(base)
        answers = [*decoder.begin(wanted[:1]), *decoder.begin(wanted[1:])]
        again(decoder)
    assert [answer.tokens for answer in answers] == alone
