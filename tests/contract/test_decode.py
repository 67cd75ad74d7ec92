"""Row-based decoding: a row's answer does not depend on its company (invariant 7)."""

import torch

from edge_es.answers import Row, Sampling
from edge_es.decode import Decoder, generate
from edge_es.feedback import Prompt
from edge_es.likelihood import Text, score
from edge_es.model import Base, encode_prompt
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from tests.contract.conftest import random_delta

PROMPTS = ("Hi", "Tell me about the sea.", "Why?", "A much longer question than the other ones, is it not?")


def rows(base: Base, tokens: int = 12) -> list[Row]:
    deltas = [Delta(), random_delta(base, size=0.3)]
    return [Row(encode_prompt(base, Prompt.user(p)), d, Sampling(tokens)) for p in PROMPTS for d in deltas]


def test_together_alone_and_in_turns(base: Base) -> None:
    wanted = rows(base)
    alone = [run(generate(base, [row]))[0].tokens for row in wanted]
    assert len({tuple(tokens) for tokens in alone}) > 4  # the rows really differ
    assert [a.tokens for a in run(generate(base, wanted))] == alone
    assert [a.tokens for a in run(generate(base, wanted, max_rows=3))] == alone


def test_rows_join_and_leave_at_any_token(base: Base) -> None:
    wanted = rows(base)
    alone = [run(generate(base, [row]))[0].tokens for row in wanted]
    decoder = Decoder(base)
    answers = decoder.admit(wanted[:2])
    for row in wanted[2:]:
        decoder.step()
        answers += decoder.admit([row])
    answers[0].cancelled = True
    while decoder.answers:
        decoder.step()
    assert [a.tokens for a in answers[1:]] == alone[1:]
    assert answers[0].tokens == alone[0][: len(answers[0].tokens)]


def test_a_row_keeps_its_version_while_others_change(base: Base) -> None:
    old, new = random_delta(base, size=0.3, seed=1), random_delta(base, size=0.3, seed=2)
    prompt = encode_prompt(base, Prompt.user(PROMPTS[1]))
    expected = {v: run(generate(base, [Row(prompt, d, Sampling(10))]))[0].tokens for v, d in ((1, old), (2, new))}
    assert expected[1] != expected[2]
    decoder = Decoder(base)
    first = decoder.admit([Row(prompt, old, Sampling(10))])[0]
    decoder.step()
    second = decoder.admit([Row(prompt, new, Sampling(10))])[0]
    while decoder.answers:
        decoder.step()
    assert (first.tokens, second.tokens) == (expected[1], expected[2])


def test_sampling_is_seeded_by_row(base: Base) -> None:
    prompt = encode_prompt(base, Prompt.user("Hi"))

    def draw(seed: int, company: int) -> list[int]:
        row = Row(prompt, Delta(), Sampling(8, temperature=1.0, top_p=0.9, seed=seed))
        others = [Row(prompt, Delta(), Sampling(8, temperature=1.0, seed=100 + i)) for i in range(company)]
        return run(generate(base, [row, *others]))[0].tokens

    assert draw(1, 0) == draw(1, 3)
    assert len({tuple(draw(seed, 0)) for seed in range(5)}) > 1


def test_limits_and_stops(base: Base) -> None:
    prompt = encode_prompt(base, Prompt.user("Hi"))
    whole = run(generate(base, [Row(prompt, Delta(), Sampling(20))]))[0]
    assert whole.finish == "length" and len(whole.tokens) == 20
    stop = whole.text[3:5]
    cut = run(generate(base, [Row(prompt, Delta(), Sampling(20, stop=(stop,)))]))[0]
    assert cut.finish == "stop" and cut.text == whole.text[: whole.text.index(stop)]
    full = run(generate(base, [Row(prompt, Delta(), Sampling(10_000))]))[0]
    assert full.finish in ("length", "stop") and len(prompt) + len(full.tokens) <= base.context


def test_logprobs_are_those_of_teacher_forcing(base: Base) -> None:
    delta = random_delta(base, size=0.3)
    prompt = encode_prompt(base, Prompt.user("Hi"))
    answer = run(generate(base, [Row(prompt, delta, Sampling(10, top=3))]))[0]
    forced = run(score(base, delta, [Text(prompt, tuple(answer.tokens))]))
    assert bool(forced.greedy[0])  # a greedy answer is the argmax under teacher forcing, and the other way round
    torch.testing.assert_close(
        forced.total[0], torch.tensor(sum(t.logprob for t in answer.logprobs)), rtol=1e-4, atol=1e-3
    )
    assert all(t.top[0][1] == t.logprob and len(t.top) == 3 for t in answer.logprobs)


def test_text_is_whole_characters(base: Base) -> None:
    prompt = encode_prompt(base, Prompt.user("Hi"))
    decoder = Decoder(base)
    answer = decoder.admit([Row(prompt, random_delta(base, size=1.0), Sampling(40, temperature=1.5, seed=4))])[0]
    shown = answer.text
    while decoder.answers:
        decoder.step()
        assert answer.text.startswith(shown)  # what was shown is never taken back
        shown = answer.text
