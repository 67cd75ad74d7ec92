"""The log-probabilities of a prompt that is read for its own sake are those of scoring it."""

import pytest
import torch

from edge_es import decode
from edge_es.answers import Row, Sampling
from edge_es.decode import Decoder, generate
from edge_es.likelihood import Text, score
from edge_es.model import Base
from edge_es.prefixes import Prefixes
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from tests.contract.conftest import random_delta

PROMPTS = ((5, 9, 70, 71, 72, 73), (8, 80, 81), tuple(range(40, 90)))


def read(base: Base, delta: Delta, top: int = 1, decoder: Decoder | None = None) -> list[list[float]]:
    decoder = decoder or Decoder(base)
    rows = [Row(prompt, delta, Sampling(max_tokens=0, top=top, echo=True)) for prompt in PROMPTS]
    answers = decoder.begin([*rows, Row(PROMPTS[0], delta, Sampling(max_tokens=3))])
    while decoder.readings or decoder.answers:
        if decoder.readings:
            decoder.read()
        else:
            decoder.step()
    *echoed, plain = answers
    assert len(plain.tokens) == 3 and not plain.prompt_logprobs
    for answer, prompt in zip(echoed, PROMPTS, strict=True):
        assert answer.finish == "length" and not answer.tokens
        assert [one.token for one in answer.prompt_logprobs] == list(prompt[1:])
        assert all(len(one.top) == top for one in answer.prompt_logprobs)
    return [[one.logprob for one in answer.prompt_logprobs] for answer in echoed]


@pytest.mark.parametrize("changed", [False, True])
def test_an_echo_is_what_scoring_says(base: Base, changed: bool) -> None:
    delta = random_delta(base, size=0.3) if changed else Delta()
    for prompt, found in zip(PROMPTS, read(base, delta), strict=True):
        texts = [Text(prompt[:at], (prompt[at],)) for at in range(1, len(prompt))]
        torch.testing.assert_close(torch.tensor(found), run(score(base, delta, texts)).total, atol=2e-5, rtol=0)


def test_an_echo_in_parts_and_beside_kept_prefixes_is_the_same(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(base, Delta())
    monkeypatch.setattr(decode, "ECHOED", base.vocabulary * 12)  # four columns of three rows
    parts = read(base, Delta())
    decoder = Decoder(base, prefixes=Prefixes(2**24))
    delta = Delta()
    first, again = read(base, delta, decoder=decoder), read(base, delta, decoder=decoder)
    assert decoder.prefixes is not None and len(decoder.prefixes) == 0  # nobody goes on with it
    for other in (parts, first, again):
        for a, b in zip(whole, other, strict=True):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=2e-5, rtol=0)


def test_the_likeliest_alternative_is_the_greedy_token(base: Base) -> None:
    answer = run(generate(base, [Row(PROMPTS[0], Delta(), Sampling(max_tokens=5))]))[0]
    prompt = (*PROMPTS[0], *answer.tokens)
    echoed = run(generate(base, [Row(prompt, Delta(), Sampling(max_tokens=1, top=2, echo=True))]))[0]
    told = echoed.prompt_logprobs[-len(answer.tokens) :]
    assert [one.token for one in told] == answer.tokens
    assert all(one.top[0] == (one.token, one.logprob) and one.top[0][1] >= one.top[1][1] for one in told)
    assert len(echoed.tokens) == 1 and len(echoed.logprobs) == 1
