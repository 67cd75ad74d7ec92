"""A cluster that fails: what is lost, what goes on, and what a ledger says of it. Real Ray, real workers."""

import os
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edge_es import ledger
from edge_es.cluster import rays
from edge_es.cluster.crew import Crew
from edge_es.cluster.evaluator import OnWorkers
from edge_es.cluster.rays import ClusterError
from edge_es.cluster.way import way_to
from edge_es.cluster.worker import Worker
from edge_es.config import ModelSection
from edge_es.evaluator import Scores
from edge_es.learner import turn
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from tests.contract.conftest import demonstrations
from tests.contract.test_evaluators import SETTINGS, crew_of
from tests.contract.test_learner import configuration, start

KILLS, SEED = int(os.environ.get("WORKER_KILLS", "2")), 20261126
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    yield
    rays.leave()


def turns_with_kills(crew: Crew, base: Base, rng: random.Random) -> int:
    """Turns, in each of which a worker is killed at a random moment; each completes or is dropped whole. How many
    completed."""
    state, around = start(base, configuration())
    around = replace(around, evaluator=OnWorkers(crew, partial(way_to, around.journal), 1, 0.75))
    state, completed = run(turn(state, demonstrations(4), False, around)), 0
    for _ in range(KILLS):
        before, moment, slices = state, rng.randrange(1, 8), turn(state, demonstrations(4), False, around)
        try:
            while True:
                moment -= 1
                if moment == 0:
                    kill_one(crew, rng)
                next(slices)
        except StopIteration as end:
            state, completed = end.value, completed + 1
        except ClusterError:
            assert around.journal.rows()[-1].attempt == before.attempt
        if moment > 0:  # the turn was over before
            kill_one(crew, rng)
        found = ledger.verify(around.journal)
        assert found["mismatches"] == 0 and found["versions"] == state.version + 1
    run(turn(state, demonstrations(4), False, around))
    return completed


def kill_one(crew: Crew, rng: random.Random) -> None:
    """One that scores, where one does."""
    alive = [hand for hand in crew.hands if hand.standing not in ("lost", "refused")]
    busy = [hand for hand in alive if hand.standing == "busy"]
    ray.kill(rng.choice(busy or alive).actor, no_restart=True)


def test_workers_that_are_killed_lose_no_step(base: Base, tiny_folder: Path, cluster: None) -> None:
    crew = crew_of(base, tiny_folder)
    completed = turns_with_kills(crew, base, random.Random(SEED))
    assert sum(hand.failures for hand in crew.hands) >= 1, "nobody was missed"
    print(f"{completed} of {KILLS} turns with a kill completed")


def test_another_base_is_refused_with_both_hashes(base: Base, tiny_folder: Path, cluster: None) -> None:
    crew = crew_of(base, tiny_folder, SETTINGS.model_copy(update={"count": 1}), quantization="none")
    state, around = start(base, configuration())
    around = replace(around, evaluator=OnWorkers(crew, partial(way_to, around.journal), 2, 0.5))
    with pytest.raises(ClusterError, match=base.sha256) as caught:
        run(turn(state, demonstrations(4), False, around))
    assert "base_sha256 is" in str(caught.value) and crew.hands[0].standing == "refused"
    assert [row.kind for row in around.journal.rows()] == ["anchor"]


class Half:
    """An evaluator whose second half is lost, as `OnWorkers` tells it."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def scores(self, delta: Delta, ask):  # type: ignore[no-untyped-def]
        found: Scores = yield from self.inner.scores(delta, ask)  # type: ignore[attr-defined]
        if ask.apart or not ask.events:
            return found
        kept = tuple(ask.pairs[: -(-len(ask.pairs) // 2)])
        columns = [2 * (pair - ask.pairs.start) + sign for pair in kept for sign in (0, 1)]
        drift = found.drift[columns] if found.drift is not None else None
        return replace(found, raw=found.raw[:, columns], drift=drift, pairs=kept)


def test_a_step_of_some_of_the_pairs_says_which_and_replays(base: Base) -> None:
    from edge_es.evaluator import InProcess

    state, around = start(base, configuration())
    around = replace(around, evaluator=Half(InProcess(base, around.protected, "auto")))  # type: ignore[arg-type]
    for _ in range(3):
        state = run(turn(state, demonstrations(8), False, around))
    row = around.journal.rows()[-1]
    assert row.kind == "step" and row.population == 8
    assert row.pairs == (0, 2) and len(row.shaped) == 4  # of two groups of two pairs each the first
    assert ledger.verify(around.journal)["mismatches"] == 0


def test_a_worker_follows_the_ledger_over_steps_renewals_and_rollbacks(base: Base, tiny_folder: Path) -> None:
    worker = Worker(ModelSection(ref=str(tiny_folder), quantization="nf4", device="cpu"), "auto")
    state, around = start(base, configuration())
    for _ in range(3):
        state = run(turn(state, demonstrations(4), False, around))
    at = None
    for version in (1, 2, 4):
        worker.follow(way_to(around.journal, version, at))
        at = version
    ledger.rollback(around.journal, 2, "for this test")
    way = way_to(around.journal, 5, 4)
    assert way.since is None, "version 4 is not on the way to what a rollback made"
    worker.follow(way)
    assert worker._delta.sha256 == ledger.rebuild(around.journal, 2).sha256
    broken = replace(way_to(around.journal, 4, 2), sha256="0" * 64)
    with pytest.raises(Exception, match="stands at version 5"):
        worker.follow(broken)


def test_little_crosses_the_network() -> None:
    """A step of 256 members on pocket: what goes out and comes back beside the items, for two workers, in bytes."""
    from edge_es.model import load_base

    base = load_base(ModelSection(device="cpu"))
    config = configuration(search=configuration().search.model_copy(update={"population": 256}))
    state, around = start(base, config)
    state = run(turn(state, demonstrations(32), False, around))
    crossed = len(pickle.dumps(way_to(around.journal, state.version, state.version - 1)))
    groups, each = config.learn.groups, 256 // 2 // config.learn.groups
    events = demonstrations(32 // groups)
    from edge_es.evaluator import Ask

    ask = Ask(state.version, 0, 2, 0.05, range(each), tuple(events), {}, 64)
    crossed += groups * (len(pickle.dumps(ask)) - len(pickle.dumps(tuple(events))))
    shares = -(-each // SETTINGS.pairs)
    some = Scores(np.zeros((len(events), 2 * SETTINGS.pairs)), (0.0,) * len(events), np.zeros(2 * SETTINGS.pairs))
    crossed += groups * shares * (len(pickle.dumps(some)) + len(pickle.dumps(range(4))))
    assert crossed < 64 * 1024


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'edge-es\[ray\]'"):
        rays.ray()
