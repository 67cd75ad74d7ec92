"""Prompts read in parts and prompts read before: the answers are those of a prompt that is read whole, alone."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from edge_es.answers import Row, Sampling
from edge_es.cache import size_of
from edge_es.decode import Decoder, generate
from edge_es.feedback import Prompt
from edge_es.model import Base, encode_prompt
from edge_es.prefixes import LEAST, Prefixes
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from tests.contract.conftest import random_delta

PLENTY = 2**30
QUESTIONS = ("Hi", "A longer question than the other one, is it not?")


def row(base: Base, question: str, weights: Delta, tokens: int = 10) -> Row:
    return Row(encode_prompt(base, Prompt.user(question)), weights, Sampling(tokens))


def alone(base: Base, wanted: Row) -> list[int]:
    return run(generate(base, [wanted]))[0].tokens


def finished(decoder: Decoder) -> None:
    while decoder.answers or decoder.readings:
        if decoder.readings:
            decoder.read()
        decoder.step()


def next_turn(of: Row, tokens: list[int], more: tuple[int, ...]) -> Row:
    return replace(of, prompt=(*of.prompt, *tokens, *more))


@pytest.mark.parametrize("most", [1, 5, 32, None])
def test_prompts_read_in_parts_while_others_are_answered(base: Base, most: int | None) -> None:
    wanted = [row(base, q, d) for q in QUESTIONS for d in (Delta(), random_delta(base, size=0.3))]
    decoder = Decoder(base)
    answers = decoder.admit(wanted[:1]) + decoder.begin(wanted[1:3]) + decoder.begin(wanted[3:])
    read = []
    while decoder.readings:
        read.append(decoder.read(most))
        decoder.step()
    finished(decoder)
    assert [a.tokens for a in answers] == [alone(base, one) for one in wanted]
    assert most is None or max(read) <= max(most, 2)  # at least a column of both prompts


def test_equal_prompts_are_read_once(base: Base) -> None:
    wanted = row(base, QUESTIONS[1], random_delta(base, size=0.3))
    drawn = [replace(wanted, sampling=Sampling(10, temperature=1.0, seed=seed)) for seed in range(4)]
    decoder = Decoder(base)
    answers = decoder.begin([wanted, *drawn])
    assert decoder.read() == len(wanted.prompt)
    finished(decoder)
    assert [a.tokens for a in answers] == [alone(base, one) for one in (wanted, *drawn)]


def test_what_nobody_waits_for_is_not_read(base: Base) -> None:
    decoder = Decoder(base)
    answers = decoder.begin([row(base, "Hi", Delta())])
    answers[0].cancelled = True
    assert decoder.read() == 0 and not decoder.readings and not decoder.answers


@pytest.mark.parametrize("most", [3, None])
def test_the_next_turn_goes_on_from_the_last(base: Base, most: int | None) -> None:
    """In one batch with a prompt that begins otherwise, and in parts."""
    delta = random_delta(base, size=0.3)
    first = row(base, QUESTIONS[1], delta)
    decoder = Decoder(base, prefixes=Prefixes(PLENTY))
    said = decoder.admit([first])[0]
    finished(decoder)
    more = encode_prompt(base, Prompt.user("And then?"))
    wanted = [next_turn(first, said.tokens, more), row(base, "Hi", delta)]
    answers = decoder.begin(wanted)
    assert [a.reused for a in answers] == [len(first.prompt) + len(said.tokens) - 1, 0]
    while decoder.readings:
        decoder.read(most)
    finished(decoder)
    assert [a.tokens for a in answers] == [alone(base, one) for one in wanted]


def test_no_version_reads_what_another_wrote(base: Base) -> None:
    old, new = random_delta(base, size=0.3, seed=1), random_delta(base, size=0.3, seed=2)
    prefixes = Prefixes(PLENTY)
    decoder = Decoder(base, prefixes=prefixes)
    for delta in (old, new):
        wanted = row(base, QUESTIONS[1], delta)
        answer = decoder.admit([wanted])[0]
        finished(decoder)
        assert answer.reused == 0 and answer.tokens == alone(base, wanted)
        assert len(prefixes) == 1
    again = decoder.admit([row(base, QUESTIONS[1], new)])[0]
    assert again.reused == len(again.row.prompt) - 1


def test_an_old_version_is_freed_with_its_last_request(base: Base) -> None:
    decoder = Decoder(base, prefixes=Prefixes(PLENTY))
    old = random_delta(base, size=0.3, seed=1)
    gone = weakref.ref(old)
    decoder.admit([row(base, QUESTIONS[1], old)])
    del old
    decoder.admit([row(base, "Hi", random_delta(base, size=0.3, seed=2), tokens=20)])
    gc.collect()
    assert gone() is not None
    finished(decoder)
    decoder.admit([row(base, "Hi", random_delta(base, size=0.3, seed=3))])
    gc.collect()
    assert gone() is None


def entry(tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.zeros(1, 2, tokens, 4), torch.zeros(1, 2, tokens, 4))]


def test_prefixes_keep_to_their_bytes_and_drop_the_least_lately_used() -> None:
    weights, each = Delta(), size_of(entry(LEAST))
    prefixes = Prefixes(2 * each)
    one, two, three = ((number,) * LEAST for number in range(3))
    prefixes.keep(weights, one, entry(LEAST))
    prefixes.keep(weights, two, entry(LEAST))
    assert prefixes.find(weights, (*one, 9))[0] == LEAST
    prefixes.keep(weights, three, entry(LEAST))
    assert (prefixes.bytes, len(prefixes)) == (2 * each, 2)
    assert [prefixes.find(weights, (*some, 9))[0] for some in (one, two, three)] == [LEAST, 0, LEAST]
    prefixes.keep(weights, (*one, 7, 7), entry(LEAST + 2))  # what it goes on from is worth nothing beside it
    assert prefixes.find(weights, (*one, 7, 7))[0] == LEAST + 1 and len(prefixes) == 1
    prefixes.keep(weights, one * 3, entry(3 * LEAST))
    assert len(prefixes) == 1, "what is larger than all room is not kept, and nothing goes for it"


def test_short_beginnings_are_read_again() -> None:
    weights, prefixes = Delta(), Prefixes(PLENTY)
    prefixes.keep(weights, tuple(range(40)), entry(40))
    assert prefixes.find(weights, (*range(LEAST - 1), 99, 99)) == (0, [])
    assert prefixes.find(weights, tuple(range(LEAST))) == (0, [])  # the last token is always read
    assert prefixes.find(weights, (*range(LEAST), 99))[0] == LEAST
