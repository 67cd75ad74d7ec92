"""One learning turn on a real quantized model: mutate-last, gated steps change nothing, replay bit for bit."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest

from edge_es import batch, ledger
from edge_es.config import Config, GatesSection, GuardsSection, LearnSection, MaskSection, ProtectSection, SearchSection
from edge_es.errors import StateError
from edge_es.evidence import Evidence
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.learner import LEAST_SHRINKAGE, NEAR_ALWAYS, NEAR_AT_ONCE, bound, shares, turn, watched
from edge_es.ledger import MemoryJournal, Row, anchor_row
from edge_es.likelihood import score
from edge_es.model import Base, base_hash
from edge_es.slices import run
from edge_es.spaces.adapter import rank
from edge_es.spaces.blob import unpack
from edge_es.spaces.consolidate import consolidate
from edge_es.spaces.delta import Delta, pack
from edge_es.state import State, Surroundings, resume
from tests.contract.conftest import demonstrations, protected, random_delta, texts


def configuration(**sections: Any) -> Config:
    search = SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2, max_rank=6)
    return Config(**{"search": search, "gates": GatesSection(canary_kl=None, min_reliability=-1), **sections})


def start(base: Base, config: Config) -> tuple[State, Surroundings]:
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    return resume(journal, base.device), Surroundings(base, config, journal, protected(base), {"rating": 0.1})


def mixed_events() -> list[Event]:
    prompt = Prompt.user("Is it so?")
    yes, no = Exchange(prompt, "yes"), Exchange(prompt, "no")
    grader = {"type": "text_similarity", "evaluation_metric": "fuzzy_match", "reference": "yes"}
    return [
        Event("d", "demonstration", (yes,)),
        Event("p", "preference", (yes, no)),
        Event("r", "rating", (yes,), metric="rating", value=1.0),
        Event("e", "rating", (yes, no), metric="rating", value=-1.0),
        Event("t", "task", (Exchange(prompt, ""),), grader=grader),
    ]


def test_learns_and_replays_bit_for_bit(any_base: Base) -> None:
    state, around = start(any_base, configuration())
    events = demonstrations(8)
    wanted = texts(any_base, events)
    before = run(score(any_base, state.delta, wanted)).total.mean()
    for _ in range(12):
        state = run(turn(state, events, False, around))
    assert run(score(any_base, state.delta, wanted)).total.mean() > before + 1.0
    whole = {"versions": 14, "replayed": 14, "mismatches": 0, "compacted": 0, "since": 0}
    assert ledger.verify(around.journal) == whole
    assert resume(around.journal, any_base.device).delta.sha256 == state.delta.sha256
    assert resume(around.journal, any_base.device).walk == pytest.approx(state.walk)
    assert base_hash(any_base) == any_base.sha256


def test_all_kinds_of_feedback_make_one_fitness(base: Base) -> None:
    state, around = start(base, configuration())
    state = run(turn(state, mixed_events(), True, around))
    row = around.journal.rows()[-1]
    assert row.version == state.version == 2 and row.events == ("d", "p", "r", "e", "t")
    assert set(row.stats["fitness_mean"]) == {"demonstration", "preference", "rating", "task"}
    assert all(math.isfinite(mean) for mean in row.stats["fitness_mean"].values())


def test_a_turn_that_is_interrupted_changes_nothing(base: Base) -> None:
    tight = LearnSection(memory_budget=str(base.weight_bytes + 1_200_000))  # many slices
    state, around = start(base, configuration(learn=tight))
    state = run(turn(state, demonstrations(4), True, around))
    rows, delta = around.journal.rows(), state.delta.sha256
    interrupted = 0
    while True:
        work = turn(state, demonstrations(4), False, around)
        try:
            for _ in range(interrupted + 1):
                next(work)
        except StopIteration:
            break
        work.close()
        assert around.journal.rows() == rows and state.delta.sha256 == delta
        interrupted += 1
    assert interrupted >= 4  # the population really came in several batches
    assert len(around.journal.rows()) == len(rows) + 1  # only the turn that ran to its end is recorded


def test_the_same_turn_is_the_same_step(base: Base) -> None:
    ends = []
    for _ in range(2):
        state, around = start(base, configuration())
        for _ in range(2):
            state = run(turn(state, mixed_events(), True, around))
        ends.append(state.delta.sha256)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("gates", "events", "word"),
    [
        (GatesSection(canary_kl=1e-9), demonstrations(6), "canary"),
        (GatesSection(canary_kl=None, min_reliability=1.0), demonstrations(6), "reliability"),
        (
            GatesSection(canary_kl=None),
            [Event("t", "task", (Exchange(Prompt.user("?"), ""),), grader={"type": "numeric", "reference": 987654321})],
            "tie",
        ),
    ],
)
def test_a_gated_step_makes_no_version(base: Base, gates: GatesSection, events: list[Event], word: str) -> None:
    state, around = start(base, configuration(gates=gates))
    after = run(turn(state, events, True, around))
    row = around.journal.rows()[-1]
    assert row.version is None and row.reason is not None and word in row.reason
    assert after.attempt == row.attempt and after.version == 1  # the input side, which changes no answer
    assert ledger.verify(around.journal)["mismatches"] == 0
    again = run(turn(after, events, False, around))
    assert around.journal.rows()[-1].step != row.step  # noise is never drawn twice
    assert again.delta.sha256 == after.delta.sha256


@pytest.mark.parametrize(
    ("guards", "holds"),
    [
        (GuardsSection(clip=0.01), lambda row: row.stats["step_norm"] <= 0.01 + 1e-6 and "clip" in row.guards),
        (
            GuardsSection(mask=MaskSection(kind="random", density=0.25)),
            lambda row: abs(row.stats["sparsity"] - 0.75) < 0.02,
        ),
        (GuardsSection(decay=0.5), lambda row: row.stats["walk_ratio"] < 0.8),
        (
            GuardsSection(trust_radius=0.02),
            lambda row: row.stats["delta_norm"] <= 0.02 + 1e-6 and "trust" in row.guards,
        ),
        (GuardsSection(protect=ProtectSection(energy=0)), lambda row: row.stats["novelty_share"] is None),
        (GuardsSection(protect=ProtectSection(energy=0.9)), lambda row: 0 < row.stats["novelty_share"] < 1),
        (GuardsSection(decay=0), lambda row: row.guards == {} and row.stats["sparsity"] == 0),
    ],
)
def test_each_guard_alone(base: Base, guards: GuardsSection, holds: Any) -> None:
    state, around = start(base, configuration(guards=guards))
    for _ in range(4):
        state = run(turn(state, demonstrations(4), False, around))
    row = around.journal.rows()[-1]
    assert holds(row), (row.stats, row.guards)
    assert ledger.verify(around.journal)["mismatches"] == 0


@pytest.mark.parametrize("kl_below", [0.0, 0.1])
def test_the_kl_guards_alone_where_no_null_space_does(base: Base, kl_below: float) -> None:
    without = configuration(
        guards=GuardsSection(protect=ProtectSection(energy=0)), learn=LearnSection(kl_below=kl_below)
    )
    state, around = start(base, without)
    run(turn(state, demonstrations(4), False, around))
    assert (around.journal.rows()[-1].stats["kl"] is not None) == (kl_below > 0)


@pytest.mark.parametrize("modules", [["q_proj"], ["o_proj", "down_proj"], ["all-linear"], ["no_such_name"]])
def test_the_search_moves_the_modules_it_is_given(base: Base, modules: list[str]) -> None:
    search = SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2, target_modules=modules, focus=False)
    state, around = start(base, configuration(search=search))
    state = run(turn(state, demonstrations(4), True, around))
    ends = {name.rpartition(".")[2] for name in state.delta.merged}
    everything = {name.rpartition(".")[2] for name in base.layers}
    assert ends == (set(modules) if set(modules) <= everything else everything)
    assert state.delta.norm() > 0 and ledger.verify(around.journal)["mismatches"] == 0


def test_a_step_is_as_long_as_the_fitness_has_been_reliable(base: Base) -> None:
    norms = {}
    for shrink in (True, False):
        search = SearchSection(population=8, sigma=0.1, alpha=0.2, rank=2, shrink=shrink)
        state, around = start(base, configuration(search=search))
        state = run(turn(state, demonstrations(6), True, around))
        norms[shrink] = around.journal.rows()[-1].stats["step_norm"]
    first = around.journal.rows()[-1].stats["fitness_reliability"]
    share = max(LEAST_SHRINKAGE, Evidence().after(first, 32).mean)
    assert norms[True] == pytest.approx(norms[False] * share, rel=1e-5)
    assert norms[True] < norms[False]


def test_steps_shorten_as_feedback_is_solved(base: Base) -> None:
    config = configuration()
    config = configuration(search=config.search.model_copy(update={"step_kl": None}))
    state, around = start(base, config)
    state = run(turn(state, demonstrations(6), True, around))
    for known in ({}, {f"other-{i}": 1.0 for i in range(40)}):
        state = run(turn(replace(state, solved=known), demonstrations(6), False, around))
        row = around.journal.rows()[-1]
        reach = batch.reach(state.solved)
        assert float.fromhex(row.alpha) == pytest.approx(config.search.alpha * reach)
        assert row.stats["solved"] == [state.solved[event.id] for event in demonstrations(6)]
    assert reach < 0.6, "most of what is known is solved"
    fixed = replace(around, config=configuration(search=config.search.model_copy(update={"anneal": False})))
    run(turn(state, demonstrations(6), False, fixed))
    assert float.fromhex(around.journal.rows()[-1].alpha) == config.search.alpha


def test_a_steps_noise_may_cost_protected_texts_so_much_and_no_more(base: Base) -> None:
    """The factor by its formula, and the alpha of a row: shorter by it, and the same after a restart."""
    search = SearchSection(population=16, sigma=0.1, alpha=0.4, step_kl=1e-4)
    cost = 2 * 4.0**2 / 16 * 3e-3
    assert bound(3e-3, search) == pytest.approx((1e-4 / cost) ** 0.5) and bound(3e-3, search) < 1
    assert bound(1e-6, search) == bound(None, search) == bound(0.0, search) == 1.0
    assert bound(3e-3, search.model_copy(update={"step_kl": None})) == 1.0
    wide = SearchSection(population=8, sigma=0.2, alpha=0.2, rank=2, target_modules=["all-linear"], anneal=False)
    for limit in (None, 1e-9):
        state, around = start(base, configuration(search=wide.model_copy(update={"step_kl": limit})))
        state = run(turn(state, demonstrations(6), True, around))
        assert state.noise_kl is not None and resume(around.journal, base.device).noise_kl == state.noise_kl
        taken = float.fromhex(around.journal.rows()[-1].alpha or "")
        factor = bound(state.noise_kl, around.config.search)
        assert taken == pytest.approx(0.2 * factor) and (factor == 1.0) == (limit is None)


def test_each_step_watches_other_protected_texts() -> None:
    near = tuple(range(100, 120))
    assert len(watched(near, 1)) == NEAR_AT_ONCE
    assert set(watched(near, 1)) & set(watched(near, 2)) == set(near[:NEAR_ALWAYS]), "what drifted most is in each"
    assert {one for step in range(5) for one in watched(near, step)} == set(near)
    assert watched(near[:3], 7) and set(watched(near[:3], 7)) == set(near[:3]) and watched((), 1) == ()


def test_the_running_reliability_is_the_journals(base: Base) -> None:
    state, around = start(base, configuration())
    strict = replace(around, config=configuration(gates=GatesSection(canary_kl=None, min_reliability=1.0)))
    for now in (around, strict, around, strict):
        state = run(turn(state, demonstrations(4), False, now))
    assert [row.version is None for row in around.journal.rows()[-4:]] == [False, True, False, True]
    assert state.evidence.looks == 4 and resume(around.journal, base.device).evidence == state.evidence


def test_members_that_break_the_arithmetic_leave_a_rejected_row(base: Base) -> None:
    state, around = start(base, configuration(search=SearchSection(population=8, sigma=1e38)))
    after = run(turn(state, demonstrations(4), True, around))
    row = around.journal.rows()[-1]
    assert row.version is None and "not finite" in (row.reason or "") and after.attempt == row.attempt
    assert row.stats["fitness_mean"] == {"demonstration": None}


def test_a_population_in_groups_meets_every_event_once(base: Base) -> None:
    events = mixed_events() * 2
    for groups in (1, 2, 3, 100):
        parts = shares(8, events, groups)
        assert [pair for pairs, _ in parts for pair in pairs] == list(range(8))
        assert sorted(id(e) for _, own in parts for e in own) == sorted(map(id, events))
        assert all(len(pairs) >= 2 and len(own) >= 2 for pairs, own in parts)
        assert len(parts) == min(groups, 4, len(events) // 2)
    assert [len(own) for _, own in shares(8, events[:3], 4)] == [3]
    state, around = start(base, configuration(learn=LearnSection(groups=3)))
    before = run(score(base, state.delta, texts(base, demonstrations(9)))).total.mean()
    for _ in range(8):
        state = run(turn(state, demonstrations(9), False, around))
    row = around.journal.rows()[-1]
    assert len(row.shaped) == 8 and row.stats["population_batches"] == 2  # of four pairs, two a part
    assert run(score(base, state.delta, texts(base, demonstrations(9)))).total.mean() > before
    assert ledger.verify(around.journal)["mismatches"] == 0


def test_all_guards_together_replay(base: Base) -> None:
    guards = GuardsSection(clip=0.05, mask=MaskSection(kind="random", density=0.5), decay=0.1, trust_radius=0.06)
    state, around = start(base, configuration(guards=guards))
    for _ in range(6):
        state = run(turn(state, demonstrations(4), False, around))
    assert set(around.journal.rows()[-1].guards) == {"clip", "decay", "trust"}
    assert state.delta.norm() <= 0.06 + 1e-6
    assert ledger.verify(around.journal)["mismatches"] == 0


def test_other_feedback_adds_a_side_and_the_budget_merges_parts(base: Base) -> None:
    state, around = start(base, configuration())
    for round_ in range(4):
        prompt = Prompt(text="ABCDEFGH"[2 * round_ : 2 * round_ + 2] * 6)
        events = [Event(f"{round_}-{i}", "demonstration", (Exchange(prompt, "0123"[i] * 3),)) for i in range(4)]
        state = replace(state, captured=1e9)  # whatever comes excites other directions than these
        state = run(turn(state, events, True, around))
        assert rank(state.delta) <= 6
    kinds = [row.kind for row in around.journal.rows()]
    assert kinds.count("basis") == 4 and kinds.count("consolidate") >= 1
    merged = next(row for row in around.journal.rows() if row.kind == "consolidate")
    assert 0 <= merged.stats["loss"] < 1 and "%" in (merged.reason or "")
    assert ledger.verify(around.journal)["mismatches"] == 0


def test_a_changed_configuration_makes_its_own_side(base: Base) -> None:
    state, around = start(base, configuration())
    state = run(turn(state, demonstrations(4), True, around))
    other = replace(around, config=configuration(guards=GuardsSection(protect=ProtectSection(energy=0))))
    state = run(turn(resume(around.journal, base.device), demonstrations(4), False, other))
    assert [row.kind for row in around.journal.rows()] == ["anchor", "basis", "step", "basis", "step"]
    assert len(state.delta.parts) == 2


def test_rollback_is_a_new_version_with_an_old_delta(base: Base) -> None:
    state, around = start(base, configuration())
    for _ in range(3):
        state = run(turn(state, demonstrations(4), False, around))
    row = ledger.rollback(around.journal, 2, "asked for")
    back = resume(around.journal, base.device)
    assert back.version == row.version == 5 and back.delta.sha256 == around.journal.rows()[2].sha256
    assert ledger.undone(around.journal.rows()) == {3: 5, 4: 5}
    state = run(turn(back, demonstrations(4), False, around))
    assert state.version == 6 and ledger.verify(around.journal)["mismatches"] == 0
    for target in (99, 6):
        with pytest.raises(StateError, match=str(target)):
            ledger.rollback(around.journal, target, "no")


def test_verify_sees_a_ledger_that_was_changed(base: Base) -> None:
    state, around = start(base, configuration())
    for _ in range(3):
        state = run(turn(state, demonstrations(4), False, around))
    changed = copy.deepcopy(around.journal)
    assert isinstance(changed, MemoryJournal)
    row = changed._rows[2]
    changed._rows[2] = replace(row, shaped=(*row.shaped[:-1], (float.fromhex(row.shaped[-1]) + 1e-3).hex()))
    assert ledger.verify(changed)["mismatches"] == 3  # that step and all that stand on it
    with pytest.raises(StateError, match="verify"):
        ledger.rebuild(changed, state.version)


def test_a_budget_that_holds_no_pair_is_said(base: Base) -> None:
    _, around = start(base, configuration(learn=LearnSection(memory_budget="64KiB")))
    state = resume(around.journal, base.device)
    with pytest.raises(StateError, match=r"learn\.memory_budget"):
        run(turn(state, demonstrations(4), True, around))


def test_rows_survive_json() -> None:
    row = replace(anchor_row(), events=("a", "b"), shaped=((0.1).hex(),), guards={"clip": (0.5).hex()})
    assert Row.from_json(row.as_json()) == row


def test_blobs_round_trip_and_consolidation_is_exact_within_the_rank(base: Base) -> None:
    delta = Delta((*random_delta(base, seed=1).parts, *random_delta(base, seed=2).parts))
    assert unpack(pack(delta)).sha256 == delta.sha256
    with pytest.raises(StateError):
        unpack(b"nonsense")
    same, loss = consolidate(delta, 4)
    assert loss < 1e-6 and rank(same) == 4 and same.norm() == pytest.approx(delta.norm(), rel=1e-5)
    for name, (a, b) in delta.merged.items():
        a2, b2 = same.merged[name]
        assert (b2.T @ a2 - b.T @ a).norm() < 1e-4 * (b.T @ a).norm()
    less, loss = consolidate(delta, 2)
    assert 0 < loss < 1 and less.norm() == pytest.approx(delta.norm() * math.sqrt(1 - loss**2), rel=1e-4)
