"""Live exploration on a real quantized model: who may answer, how it is drawn again, and what its rating makes."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_es import ledger
from edge_es.answers import Row, Sampling
from edge_es.config import Config, GatesSection, GuardsSection, SearchSection
from edge_es.decode import generate
from edge_es.errors import StateError
from edge_es.exploration import STEP, Stock, again, draw, take
from edge_es.feedback import Drawn, Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.learner import LEAST_SHRINKAGE, turn
from edge_es.likelihood import collate, same_weights, score_batch
from edge_es.live import live_step, pooled, ratings, reliability
from edge_es.model import Base, base_hash, encode_prompt
from edge_es.sidechannel import Member, MixedRows
from edge_es.slices import run
from edge_es.spaces.delta import flat_step
from edge_es.state import State, Surroundings, resume
from tests.contract.conftest import demonstrations
from tests.contract.test_learner import configuration, start

SEARCH = SearchSection(
    population=8, sigma=0.1, alpha=0.5, rank=2, max_rank=6, exploration="live", live_sigma=0.3, step_kl=None
)
OPEN = GatesSection(canary_kl=None, min_reliability=-1)


def begun(base: Base, gates: GatesSection = OPEN, **sections: Any) -> tuple[State, Surroundings]:
    """A state with a basis, as an ordinary turn made it."""
    state, around = start(base, configuration(search=SEARCH))
    state = run(turn(state, demonstrations(4), True, around))
    config = Config(**{"search": SEARCH, "gates": gates, **sections})
    return state, replace(around, config=config)


def members(stock: Stock) -> list[tuple[Member, Drawn]]:
    found = []
    while stock.members:
        member, drawn, stock = take(stock)
        found.append((member, drawn))
    return found


def rated(drawn: Sequence[Drawn], values: Sequence[float], metric: str = "rating") -> list[Event]:
    said = (Exchange(Prompt.user("Well?"), "yes"),)
    pairs = enumerate(zip(drawn, values, strict=True))
    return [Event(f"{metric}-{d.pair}-{i}", "rating", said, metric=metric, value=v, member=d) for i, (d, v) in pairs]


def by_sum(drawn: Sequence[Drawn]) -> list[float]:
    """Ratings that differ, whatever the members."""
    return [float((7 * d.pair + 3 * d.sign) % 5) for d in drawn]


def test_a_live_step_replays_bit_for_bit(any_base: Base) -> None:
    guards = GuardsSection(clip=0.3, decay=0.1, trust_radius=0.4)
    state, around = begun(any_base, GatesSection(canary_kl=1000.0, min_reliability=-1), guards=guards)
    for first in (0, 4, 8):
        drawn = [one for _, one in members(run(draw(state, first, around)))]
        before = state
        state = run(live_step(state, rated(drawn[1:], by_sum(drawn[1:])), around))  # one sign is never rated
        assert state.version == before.version + 1 and state.delta.sha256 != before.delta.sha256
    row = around.journal.rows()[-1]
    assert row.pairs == (8, 9, 10, 11) and len(row.shaped) == 8 and float.fromhex(row.shaped[0]) == 0.0
    assert row.step == STEP and row.population == 7 and set(row.guards) == {"clip", "decay", "trust"}
    assert ledger.verify(around.journal)["mismatches"] == 0
    after = resume(around.journal, any_base.device)
    assert after.delta.sha256 == state.delta.sha256 and after.aged == state.aged == 4
    assert after.walk == pytest.approx(state.walk) and after.evidence == state.evidence
    assert base_hash(any_base) == any_base.sha256
    assert ledger.Row.from_json(row.as_json()) == row


def test_the_step_is_the_strategys_over_exactly_those_members(base: Base) -> None:
    state, around = begun(base, guards=GuardsSection(decay=0))
    drawn = [one for _, one in members(run(draw(state, 20, around)))]
    good, bad = drawn[2], drawn[5]  # plus of pair 21, minus of pair 22
    after = run(live_step(state, rated([good, bad], [1.0, -1.0]), around))
    basis, now, then = state.delta.active.basis, after.delta.active.b, state.delta.active.b
    assert now is not None and then is not None
    weight = SEARCH.alpha * LEAST_SHRINKAGE / 2  # of two members, one standard deviation each; no pair is complete
    step = flat_step(basis, SEARCH.seed, STEP, [weight, weight], "cpu", [21, 22])
    torch.testing.assert_close(now - then, step, rtol=1e-5, atol=1e-7)
    assert around.journal.rows()[-1].events == ("rating-21-0", "rating-22-1")


def test_what_is_rated_higher_grows(base: Base) -> None:
    """A user who sees how likely a member makes an answer: live steps make it likelier under the version."""
    state, around = begun(base)
    text = text_of(base, Exchange(Prompt.user("Well?"), "no"))
    batch = collate(base, [text])
    before = float(score_batch(base, batch, same_weights(base, state.delta, 1)).total)
    for first in range(0, 48, 4):
        found = members(run(draw(state, first, around)))
        values = [float(score_batch(base, batch, MixedRows([m], base.device)).total) for m, _ in found]
        state = run(live_step(state, rated([d for _, d in found], values), around))
    after = float(score_batch(base, batch, same_weights(base, state.delta, 1)).total)
    assert after > before + 1.0
    known = pooled(around.journal, around.journal.rows()[-1])
    # Eight members' mean alone made noise look like 0.14 until that was taken off: 0.3 was such a figure.
    assert known is not None and known[0] > 0.1, "what a member does, its mirror image undoes"


def test_a_step_costs_no_pass_but_the_canarys(base: Base) -> None:
    passes = []
    handle = base.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        for gates, most in ((OPEN, 0), (GatesSection(canary_kl=1000.0, min_reliability=-1), 2)):
            state, around = begun(base, gates)
            stock = run(draw(state, 0, around))
            passes.clear()
            drawn = [one for _, one in members(stock)]  # taking one is no pass either
            after = run(live_step(replace(state, near=(0, 1)), rated(drawn, by_sum(drawn)), around))
            assert after.version == state.version + 1 and len(passes) == most  # the anchor and the candidate
    finally:
        handle.remove()


def test_an_answer_is_one_members_and_can_be_given_again(base: Base) -> None:
    state, around = begun(base)
    prompt, sampling = encode_prompt(base, Prompt.user("Why?")), Sampling(10, temperature=1.0, seed=3)
    stocked = members(run(draw(state, 0, around)))
    rows = [Row(prompt, member, sampling) for member, _ in stocked]
    company = [Row(prompt, state.delta, sampling)] * 2  # versions in the same batch
    served = [answer.tokens for answer in run(generate(base, [*rows, *company]))]
    assert len({tuple(tokens) for tokens in served}) > 4, "members answer each in their own way"
    state_later = run(live_step(state, rated([d for _, d in stocked], by_sum([d for _, d in stocked])), around))
    then = ledger.rebuild(around.journal, state.version)
    for (_, drawn), tokens in zip(stocked, served[: len(rows)], strict=True):
        alone = run(generate(base, [Row(prompt, again(then, drawn), sampling)]))[0]
        assert alone.tokens == tokens
    assert run(generate(base, company[:1]))[0].tokens == served[-1], "no member left a trace"
    assert base_hash(base) == base.sha256 and state_later.version == state.version + 1


def test_no_member_answers_that_is_further_off_than_the_canary_allows(base: Base) -> None:
    state, around = begun(base, GatesSection(canary_kl=1000.0))
    stock = run(draw(state, 4, around))
    assert [d.pair for _, d in members(stock)] == [4, 4, 5, 5, 6, 6, 7, 7]
    assert [d.sign for _, d in members(stock)] == [1, -1] * 4
    tight = replace(around, config=around.config.model_copy(update={"gates": GatesSection(canary_kl=1e-9)}))
    assert run(draw(state, 4, tight)).members == ()
    search = SEARCH.model_copy(update={"live_sigma": 1e38})
    broken = replace(around, config=around.config.model_copy(update={"search": search}))
    assert run(draw(state, 4, broken)).members == (), "what is no number is not near"


def test_a_candidate_that_jumps_is_refused(base: Base) -> None:
    state, around = begun(base)
    drawn = [one for _, one in members(run(draw(state, 0, around)))]
    tight = replace(around, config=around.config.model_copy(update={"gates": GatesSection(canary_kl=1e-9)}))
    after = run(live_step(state, rated(drawn, by_sum(drawn)), tight))
    row = around.journal.rows()[-1]
    assert row.version is None and "canary" in (row.reason or "") and after.delta is state.delta
    assert after.attempt == row.attempt == state.attempt + 1


def test_an_interrupted_live_step_or_draw_changes_nothing(base: Base) -> None:
    state, around = begun(base, GatesSection(canary_kl=1000.0))
    rows, sha256 = around.journal.rows(), state.delta.sha256
    drawn = [one for _, one in members(run(draw(state, 0, around)))]
    for begin in (
        lambda: draw(state, 0, around),
        lambda: live_step(state, rated(drawn, by_sum(drawn)), around),
    ):
        stops = 0
        while True:
            work = begin()
            try:
                for _ in range(stops + 1):
                    next(work)  # type: ignore[call-overload]
            except StopIteration:
                break
            work.close()
            assert around.journal.rows() == rows and state.delta.sha256 == sha256
            stops += 1
        assert stops >= 1
    assert len(around.journal.rows()) == len(rows) + 1


def test_ratings_of_an_older_version_count_while_its_basis_stands(base: Base) -> None:
    state, around = begun(base)
    drawn = [one for _, one in members(run(draw(state, 0, around)))]
    later = run(turn(state, demonstrations(4), False, around))
    assert later.version == state.version + 1
    after = run(live_step(later, rated(drawn, by_sum(drawn)), around))
    assert after.version == later.version + 1 and ledger.verify(around.journal)["mismatches"] == 0
    other = replace(later, captured=1e9)  # whatever comes excites other directions than these
    other = run(turn(replace(other, attempt=after.attempt, version=after.version), demonstrations(4), True, around))
    with pytest.raises(StateError, match="has another"):
        run(live_step(other, rated(drawn, by_sum(drawn)), around))
    with pytest.raises(StateError, match="one family"):
        run(live_step(state, rated([drawn[0], replace(drawn[1], seed=9)], [1, 0]), around))
    with pytest.raises(ValueError, match="not"):
        again(other.delta, drawn[0])


@pytest.mark.parametrize(
    ("values", "word"),
    [([1.0] * 8, "tie"), ([1.0, 1.0, -1.0, -1.0] * 2, "tie"), ([1.0, 0.9, -1.0, -0.9] * 2, "reliability")],
)
def test_ratings_without_signal_make_no_version(base: Base, values: list[float], word: str) -> None:
    state, around = begun(base, GatesSection(canary_kl=None, min_reliability=0.5))
    drawn = [one for _, one in members(run(draw(state, 0, around)))]
    after = run(live_step(state, rated(drawn, values), around))
    row = around.journal.rows()[-1]
    assert row.version is None and word in (row.reason or "") and after.delta.sha256 == state.delta.sha256


def test_members_of_two_stocks_answer_side_by_side(base: Base) -> None:
    """A long answer of the old stock is in the making when the next stock's first member is asked."""
    state, around = begun(base)
    stocks = [run(draw(state, first, around)) for first in (0, 4)]
    some = [members(stock)[0][0] for stock in stocks]
    prompt = encode_prompt(base, Prompt.user("hello"))
    rows = [Row(prompt, weights, Sampling(12)) for weights in (some[0], state.delta, some[1])]
    together = run(generate(base, rows))
    assert [one.tokens for one in together] == [run(generate(base, [row]))[0].tokens for row in rows]


def test_reliability_is_that_the_signs_of_a_pair_disagree() -> None:
    many = 10**9  # so that being centred on their own mean is nothing
    assert reliability([(1.0, -1.0), (-2.0, 2.0)], many) == pytest.approx(1.0)
    assert reliability([(1.0, 1.0), (-1.0, -1.0)], many) == pytest.approx(-1.0)
    assert reliability([(1.0, 1.0), (1.0, -1.0)], many) == pytest.approx(0.0, abs=1e-6)
    assert reliability([(1.0, -1.0), (-1.0, 1.0)], 4) == pytest.approx(1.0)
    assert reliability([(1.0, -1.0)], many) is None


def test_reliability_of_noise_is_0_in_the_mean_however_few_members_there_are() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        scores = rng.normal(size=8)
        scores = (scores - scores.mean()) / scores.std()
        found.append(reliability([(scores[i], scores[i + 1]) for i in range(0, 8, 2)], 8))
    assert abs(float(np.mean([one for one in found if one is not None]))) < 0.02


def test_what_weighs_nothing_says_nothing() -> None:
    d = [Drawn(0, STEP, pair, sign, 0.1, "b") for pair in range(2) for sign in (1, -1)]
    trusted = rated(d, [1.0, 0.0, 1.0, 0.0])
    web = [replace(one, id=f"web-{one.id}", tags={"source": "web"}) for one in rated(d, [0.0, 1.0, 0.0, 1.0])]
    weight = {"web": 0.0}
    assert ratings([*trusted, *web], lambda source: weight.get(source or "", 1.0)) == ratings(trusted)
    d = [Drawn(0, STEP, pair, sign, 0.1, "b") for pair in range(3) for sign in (1, -1)]
    mixed = [*rated(d[:4], [1.0, 0.0, 1.0, 0.0], "a"), *rated(d[2:], [10.0, 10.0, 10.0, 10.0], "b")]
    found = ratings(mixed)  # metrics are standardised each by itself; one that ties says nothing
    assert found.members == {
        (0, 1): 1.0,
        (0, -1): -1.0,
        (1, 1): 0.5,
        (1, -1): -0.5,
        (2, 1): 0.0,
        (2, -1): 0.0,
    }
    assert found.complete == 3 and found.means == {"a": 0.5, "b": 10.0}


def test_a_step_is_as_long_as_the_ratings_are_reliable(base: Base) -> None:
    state, around = begun(base)
    drawn = [one for _, one in members(run(draw(state, 0, around)))]
    for values, share in (([1.0, -1.0] * 4, 1.0), ([1.0, 0.9, -1.0, -0.9] * 2, LEAST_SHRINKAGE)):
        first = len(around.journal.rows())
        apart = replace(around, journal=copy.deepcopy(around.journal))
        run(live_step(state, rated(drawn, values), apart))
        row = apart.journal.rows()[first]
        assert float.fromhex(row.alpha) == pytest.approx(SEARCH.alpha * share)
        assert float.fromhex(row.guards["decay"]) == pytest.approx(1 - around.config.guards.decay * share)


def test_reliability_is_pooled_over_the_steps_of_a_basis(base: Base) -> None:
    state, around = begun(base)
    for first in (0, 4):
        drawn = [one for _, one in members(run(draw(state, first, around)))]
        state = run(live_step(state, rated(drawn, [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0]), around))
    rows = around.journal.rows()
    each = [row.stats["live"]["reliability"] for row in rows[-2:]]
    assert pooled(around.journal, rows[-1]) == (pytest.approx((each[0] + 2 * each[1]) / 3), 12)
    assert pooled(around.journal, replace(rows[-1], side="other"))[1] == 4  # type: ignore[index]
