"""What a source weighs, and who contradicts the others, as a turn reads it."""

from dataclasses import replace
from typing import Any

import pytest

from edge_es import batch, ledger
from edge_es.config import Config, FeedbackSection, GatesSection, LearnSection, SearchSection
from edge_es.consensus import Standing
from edge_es.feedback import Event, Exchange
from edge_es.learner import turn
from edge_es.ledger import MemoryJournal, Row, anchor_row
from edge_es.model import Base
from edge_es.slices import run
from edge_es.state import State, Surroundings, resume
from tests.contract.conftest import demonstrations, protected


def configuration(**feedback: Any) -> Config:
    return Config(
        search=SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2),
        gates=GatesSection(canary_kl=None, min_reliability=-1),
        learn=LearnSection(groups=1),
        feedback=FeedbackSection(**feedback),
    )


def start(base: Base, config: Config) -> tuple[State, Surroundings]:
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    around = Surroundings(base, config, journal, protected(base), {})
    return run(turn(resume(journal, base.device), sourced(), True, around)), around


def sourced(answer: str | None = None) -> list[Event]:
    """Six events of 'me' and two of 'web', whose answer may be another."""
    events = [replace(event, tags={"source": "me"}) for event in demonstrations(8)]
    web = [replace(event, tags={"source": "web"}) for event in events[6:]]
    if answer is not None:
        web = [replace(event, exchanges=(Exchange(event.exchanges[0].prompt, answer),)) for event in web]
    return [*events[:6], *web]


def step(state: State, around: Surroundings, answer: str | None = None) -> Row:
    run(turn(state, sourced(answer), False, around))
    return around.journal.rows()[-1]


@pytest.mark.parametrize(("weights", "alike"), [({"web": 0.0}, True), ({"web": 0.5}, False), ({}, False)])
def test_a_source_of_weight_0_has_no_say_in_a_step(base: Base, weights: dict[str, float], alike: bool) -> None:
    """Two starts, since a turn leaves its row behind."""
    rows = [step(*start(base, configuration(weights=weights)), answer) for answer in (None, "quite another answer")]
    assert rows[0].version == rows[1].version and rows[0].shaped
    assert (rows[0].shaped == rows[1].shaped) == alike


def test_who_contradicted_the_others_before_is_left_out_of_the_fitness(base: Base) -> None:
    ids = [event.id for event in sourced()]
    known = {one: Standing(-0.1 * (place > 5) - 0.1 * (place > 6) + 0.05, 4) for place, one in enumerate(ids)}
    for share, clipped, alike in ((0.25, [6, 7], True), (0.125, [7], False), (0.0, [], False)):
        rows = []
        for answer in (None, "quite another answer"):
            state, around = start(base, configuration(clip=share))
            rows.append(step(replace(state, standing=known, solved={}), around, answer))
        assert [row.stats["clipped"] for row in rows] == [clipped, clipped]
        assert (rows[0].shaped == rows[1].shaped) == alike
    assert ledger.verify(around.journal)["mismatches"] == 0


def test_what_is_known_of_events_survives_a_restart_and_ends_with_a_rollback(base: Base) -> None:
    state, around = start(base, configuration())
    for _ in range(4):
        state = run(turn(state, sourced(), False, around))
    back = resume(around.journal, base.device)
    assert back.standing == state.standing and {one.looks for one in back.standing.values()} == {5}
    assert any(one.agreement for one in back.standing.values())
    assert [back.chance(one) for one in state.standing] == [state.chance(one) for one in state.standing]
    ledger.rollback(around.journal, 1, "taken back", {})
    assert resume(around.journal, base.device).standing == {}


def test_a_doubted_event_is_drawn_less_until_it_is_solved() -> None:
    state = State(0, None, 0, standing={"a": Standing(-0.1, 5), "b": Standing(0.1, 5)})  # type: ignore[arg-type]
    assert (state.chance("a"), state.chance("b"), state.chance("new")) == (0.2, 1.0, 1.0)
    assert replace(state, solved={"a": 0.5}).chance("a") == batch.chance(0.5) == 0.5
