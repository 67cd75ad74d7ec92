"""Renewal of the basis leaves no trace until it is done, and never crosses from one search space to another."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_es import ledger, renewal
from edge_es.config import GatesSection, GuardsSection, ProtectSection, SearchSection
from edge_es.errors import StateError
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.learner import turn
from edge_es.ledger import MemoryJournal
from edge_es.model import Base
from edge_es.rows import Row
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide, rank
from edge_es.spaces.input_side import captured_share
from edge_es.state import State, Surroundings, resume, room_of
from tests.contract.conftest import demonstrations, load_tiny, texts
from tests.contract.test_learner import configuration, start


def lessons(round_: int) -> list[Event]:
    prompt = Prompt(text="ABCDEFGH"[2 * round_ : 2 * round_ + 2] * 6)
    return [Event(f"{round_}-{i}", "demonstration", (Exchange(prompt, "0123"[i] * 3),)) for i in range(4)]


def full_up(base: Base) -> tuple[State, Surroundings]:
    """A delta whose next basis must merge the parts before it."""
    state, around = start(base, configuration())
    for round_ in range(3):
        state = run(turn(replace(state, captured=1e9), lessons(round_), True, around))
    assert rank(state.delta) == 6
    return state, around


def test_an_interrupted_renewal_leaves_no_trace(base: Base) -> None:
    state, around = full_up(base)
    rows = around.journal.rows()
    seen: list[list[str]] = []
    for _ in turn(replace(state, captured=1e9), lessons(3), True, around):
        seen.append([row.kind for row in around.journal.rows()[len(rows) :]])
    assert seen[0] == [] and len(seen) > 3  # it could have been dropped at many moments
    assert ["consolidate"] not in seen
    assert [row.kind for row in around.journal.rows()][len(rows) :] == ["consolidate", "basis", "step"]


def test_a_restart_between_the_two_rows_makes_the_basis_that_was_to_follow(base: Base) -> None:
    state, around = full_up(base)
    run(turn(replace(state, captured=1e9), lessons(3), True, around))
    cut = MemoryJournal()
    for row in around.journal.rows():
        cut.append(row, {row.side: around.journal.blob(row.side)} if row.side else {})
        if row.kind == "consolidate":
            break
    after = resume(cut, base.device)
    assert run(renewal.due(after, [], False, replace(around, journal=cut))) == "configuration"
    assert after.protection is None
    after = run(turn(after, lessons(3), False, replace(around, journal=cut)))
    assert [row.kind for row in cut.rows()][-2:] == ["basis", "step"]
    assert after.delta.active.basis.size < after.delta.parts[0].basis.size  # the merged part does not move


def test_a_side_that_was_searched_for_long_is_joined_by_another(base: Base) -> None:
    config = configuration()
    config = config.model_copy(update={"search": config.search.model_copy(update={"renew": 3})})
    state, around = start(base, config)
    for _ in range(7):
        state = run(turn(state, demonstrations(4), False, around))
        again = resume(around.journal, base.device)
        assert again.aged == state.aged and again.delta.sha256 == state.delta.sha256
    assert [row.kind for row in around.journal.rows()][1:] == [*["basis", *["step"] * 3] * 2, "basis", "step"]
    assert len(state.delta.parts) == 3 and state.aged == 1
    assert ledger.verify(around.journal)["mismatches"] == 0
    ledger.rollback(around.journal, 3, "asked for")
    assert resume(around.journal, base.device).aged == 2


@pytest.mark.parametrize(("space", "quantization"), [("full", "none"), ("scales", "nf4")])
def test_another_space_is_refused_in_one_line(tiny_folder: Path, space: str, quantization: str) -> None:
    base = load_tiny(tiny_folder, quantization)
    search = SearchSection(space=space, population=8, sigma=0.01, alpha=0.01)  # type: ignore[arg-type]
    gates = GatesSection(canary_kl=None, min_reliability=-1)
    state, around = start(base, configuration(search=search, gates=gates))
    state = run(turn(state, demonstrations(4), True, around))
    rows = around.journal.rows()
    other = replace(around, config=configuration(gates=gates))
    with pytest.raises(StateError, match=f"'{space}', not 'adapter'"):
        run(turn(state, demonstrations(4), False, other))
    assert around.journal.rows() == rows


def test_what_was_learned_is_spared_once_other_feedback_comes(base: Base) -> None:
    first, other = lessons(0), lessons(1)
    read: list[float] = []
    for most in (0, 160):
        guards = GuardsSection(protect=ProtectSection(learned=most))
        config = configuration(guards=guards)
        config = config.model_copy(update={"search": config.search.model_copy(update={"renew": 2, "focus": False})})
        state, around = start(base, config)
        around = replace(around, recall=lambda ids: [event for event in first if event.id in ids])
        state = run(turn(state, first, True, around))
        assert state.learned_by is None and sides(around)[-1].stats["spared"] == len(around.protected)
        came = state.attempt
        state = replace(state, captured=1e9, solved={event.id: 1.0 for event in first})
        state = run(turn(state, other, True, around))
        made = sides(around)[-1].stats
        assert made["learned_by"] == came and made["spared"] == len(around.protected) + min(most, len(first))
        assert resume(around.journal, base.device).learned_by == state.learned_by == came
        side = state.delta.active.basis
        assert isinstance(side, InputSide)
        read.append(run(captured_share(base, state.delta, side, texts(base, first), room_of(state, around))))
        for _ in range(2):  # a side that was searched for long is no other feedback
            state = run(turn(state, other, False, around))
        assert len(sides(around)) == 3 and sides(around)[-1].stats["learned_by"] == state.learned_by == came
    assert read[1] < 0.7 * read[0]


def sides(around: Surroundings) -> list[Row]:
    """The rows that brought an input side."""
    return [row for row in around.journal.rows() if row.kind == "basis"]
