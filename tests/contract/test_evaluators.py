"""Every evaluator through one suite: this process, and two workers of a local Ray cluster."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_es import ledger, noise
from edge_es.adoption import adopt
from edge_es.cluster import rays
from edge_es.cluster.crew import Crew
from edge_es.cluster.driven import Driven
from edge_es.cluster.evaluator import OnWorkers, joined
from edge_es.cluster.link import Begin
from edge_es.cluster.way import way_to
from edge_es.cluster.worker import Facts
from edge_es.config import ModelSection, WorkersSection
from edge_es.evaluator import Ask, Evaluator, InProcess
from edge_es.learner import turn
from edge_es.ledger import MemoryJournal, anchor_row
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.delta import Delta, Part, pack
from edge_es.state import resume
from tests.contract.conftest import demonstrations, protected, random_delta
from tests.contract.test_learner import configuration, mixed_events, start

pytest.importorskip("ray")
PAIRS = 6
SETTINGS = WorkersSection(count=2, pairs=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ends what a test has started."""
    yield
    rays.leave()


def facts(base: Base) -> Facts:
    return Facts(base.sha256, base.quantization, noise.GENERATOR, str(base.device))


def crew_of(base: Base, tiny_folder: Path, settings: WorkersSection = SETTINGS, quantization: str = "nf4") -> Crew:
    model = ModelSection(ref=str(tiny_folder), quantization=quantization, device="cpu")  # type: ignore[arg-type]
    return Crew(settings, model, "auto", facts(base), protected(base))


def driven(base: Base, tiny_folder: Path, journal: MemoryJournal) -> Driven:
    """By a process that drives a cluster of its own."""
    model = ModelSection(ref=str(tiny_folder), quantization="nf4", device="cpu")
    begin = Begin(SETTINGS, model, "auto", facts(base), tuple(protected(base)))
    return Driven(begin, partial(way_to, journal))


@pytest.fixture(scope="module")
def crews() -> dict[str, Crew]:
    return {}


class Subject:
    """An evaluator with a version that its ledger knows."""

    def __init__(self, kind: str, base: Base, tiny_folder: Path, crews: dict[str, Crew]) -> None:
        self.base, self.journal = base, MemoryJournal()
        self.journal.append(anchor_row(), {})
        adopt(self.journal, random_delta(base), "for this test")
        self.delta = resume(self.journal, base.device).delta
        self.at: Evaluator = InProcess(base, protected(base), "auto")
        if kind == "driven":
            self.at = driven(base, tiny_folder, self.journal)
        elif kind == "ray":
            crew = crews.setdefault("tiny", crew_of(base, tiny_folder))
            for hand in crew.hands:
                hand.version = None  # each test has a ledger of its own
            self.at = OnWorkers(crew, partial(way_to, self.journal), SETTINGS.pairs, SETTINGS.min_share)

    def ask(self, **changes: Any) -> Ask:
        whole = Ask(1, 5, 9, 0.1, range(PAIRS), tuple(demonstrations(4)), {"rating": 0.1}, 4)
        return replace(whole, **changes)


@pytest.fixture(params=["process", "ray", "driven"])
def subject(
    request: pytest.FixtureRequest, base: Base, tiny_folder: Path, crews: dict[str, Crew], cluster: None
) -> Iterator[Subject]:
    made = Subject(request.param, base, tiny_folder, crews)
    yield made
    if isinstance(made.at, Driven):
        made.at.close()


def test_all_kinds_of_feedback_under_every_member(subject: Subject) -> None:
    events = tuple(mixed_events())
    found = run(subject.at.scores(subject.delta, subject.ask(events=events, near=(0, 3))))
    again = run(subject.at.scores(subject.delta, subject.ask(events=events, near=(0, 3))))
    assert found.raw.shape == (len(events), 2 * PAIRS) and found.pairs is None
    assert found.drift is not None and found.drift.shape == (2 * PAIRS,) and (found.drift >= -1e-6).all()
    assert (found.raw == again.raw).all() and (found.drift == again.drift).all()  # the same bits
    assert [share is None for share in found.solved] == [False, True, True, True, False]
    assert found.raw[0].std() > 1e-3, "members differ"


def test_a_population_can_be_shared_out(subject: Subject) -> None:
    whole = run(subject.at.scores(subject.delta, subject.ask()))
    parts = [run(subject.at.scores(subject.delta, subject.ask(pairs=own))) for own in (range(2), range(2, PAIRS))]
    np.testing.assert_allclose(np.concatenate([one.raw for one in parts], 1), whole.raw, rtol=1e-4, atol=1e-4)


def test_members_of_a_basis_that_no_version_has_yet(subject: Subject) -> None:
    basis = random_delta(subject.base, rank=1, seed=4).active.basis
    found = run(subject.at.scores(subject.delta, subject.ask(basis=pack(Delta((Part(basis, None),))))))
    other = run(subject.at.scores(subject.delta, subject.ask()))
    assert found.raw.shape == other.raw.shape and not np.allclose(found.raw, other.raw)


def test_pairs_that_move_one_linear_alone(subject: Subject) -> None:
    pairs = range(len(subject.delta.active.basis.slots))
    found = run(subject.at.scores(subject.delta, subject.ask(pairs=pairs, apart=True, events=(), near=(1, 2))))
    assert found.raw.shape == (0, 2 * len(pairs)) and found.drift is not None and len(found.drift) == 2 * len(pairs)


def test_a_turn_learns_and_replays(subject: Subject) -> None:
    state, around = start(subject.base, configuration())
    if isinstance(subject.at, OnWorkers):
        around = replace(around, evaluator=OnWorkers(subject.at._crew, partial(way_to, around.journal), 2, 0.75))
    elif isinstance(subject.at, Driven):
        subject.at._ways = partial(way_to, around.journal)
        around = replace(around, evaluator=subject.at)
    for _ in range(3):
        state = run(turn(state, demonstrations(6), False, around))
    assert state.version >= 3 and ledger.verify(around.journal)["mismatches"] == 0


def test_a_share_has_the_bits_of_this_process(
    base: Base, tiny_folder: Path, crews: dict[str, Crew], cluster: None
) -> None:
    """At the same shapes, on one kind of device."""
    subject = Subject("ray", base, tiny_folder, crews)
    asked = subject.ask(events=tuple(mixed_events()), near=(0, 3))
    theirs = run(subject.at.scores(subject.delta, asked))
    shares = [range(first, first + SETTINGS.pairs) for first in range(0, PAIRS, SETTINGS.pairs)]
    here = InProcess(base, protected(base), "auto")
    ours = joined(shares, [run(here.scores(subject.delta, replace(asked, pairs=own))) for own in shares], False)
    assert (theirs.raw == ours.raw).all() and theirs.solved == ours.solved
    assert theirs.drift is not None and (theirs.drift == ours.drift).all()
