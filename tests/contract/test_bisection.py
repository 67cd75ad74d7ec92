"""The first bad version on the real embedded model: a harmful step among harmless ones is named wherever it stands."""

import gc
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from edge_es import bisection, ledger, noise, retention
from edge_es.config import ModelSection, ProbesSection
from edge_es.errors import StateError
from edge_es.ledger import MemoryJournal, Row, anchor_row
from edge_es.memory import OPEN
from edge_es.model import Base, load_base
from edge_es.pocket import MODEL_DIR, PROBES_DIR
from edge_es.probes.scoring import Encoded, encode
from edge_es.probes.suites import Item, Suite, load_suite
from edge_es.probes.verdicts import SuiteResult
from edge_es.slices import Slices, run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part, pack

PLACES = 20
N = 50  # items a suite
HARMLESS, HARMFUL = 0.002, 40.0  # alpha of a step
PROBES = ProbesSection()


@pytest.fixture(scope="module")
def base() -> Base:
    if not (MODEL_DIR / "model.safetensors").exists():
        pytest.skip("the embedded model is not there")
    return load_base(ModelSection(device="cpu"))


@pytest.fixture(scope="module")
def suites(base: Base) -> list[Encoded]:
    """Two that a harmful step breaks, and one that is never dropped."""
    some = {name: load_suite(PROBES_DIR / f"{name}.jsonl") for name in ("add", "reverse")}
    drift = Suite("drift", "kl", tuple(Item(item.prompt) for item in some["add"].items[:4]))
    return [*(encode(base, Suite(name, s.kind, s.items[:N])) for name, s in some.items()), encode(base, drift)]


@pytest.fixture(scope="module")
def probe(base: Base, suites: list[Encoded]) -> Callable[[int, Delta, Sequence[Encoded]], Slices[retention.Round]]:
    """A probe round as the daemon holds it, against the anchor."""
    anchor = run(retention.probe_round(base, Delta(), 0, suites, lambda suite: {}, PROBES, OPEN)).scores

    def round_(version: int, delta: Delta, some: Sequence[Encoded]) -> Slices[retention.Round]:
        return retention.probe_round(base, delta, version, some, lambda suite: anchor, PROBES, OPEN)

    return round_


@dataclass
class Past:
    """A ledger in the making. delta: of the newest version."""

    base: Base
    rng: random.Random
    journal: MemoryJournal
    delta: Delta
    version: int = 0

    def basis(self) -> None:
        g = torch.Generator().manual_seed(self.rng.getrandbits(32))
        inputs = {name: self.base.model.get_submodule(name).in_features for name in self.base.layers}
        a = {name: torch.linalg.qr(torch.randn(n, 2, generator=g))[0].T.contiguous() for name, n in inputs.items()}
        side = InputSide(a, self.base.outs(self.base.layers))
        blob = pack(Delta((Part(side, None),)))
        row = replace(self._next(), kind="basis", side=side.sha256)
        self._publish(row, self.delta.with_basis(side), {side.sha256: blob})

    def step(self, alpha: float) -> int:
        """Its version; it used the event named by it."""
        row = replace(
            self._next(),
            events=(f"event-{self.version + 1}", "event-of-all"),
            seed=self.rng.getrandbits(32),
            step=self.version + 1,
            generator=noise.GENERATOR,
            shaped=tuple(self.rng.choice((-1.0, 1.0, 0.5, -0.5)).hex() for _ in range(8)),
            alpha=alpha.hex(),
            sigma=(0.05).hex(),
            side=self.delta.active.basis.sha256,
        )
        self._publish(row, ledger.apply_row(self.delta, row, {}, self.journal), {})
        return self.version

    def excursion(self) -> int:
        """A harmful step that was rolled back. Its version."""
        before, good = self.version, self.delta
        bad = self.step(HARMFUL)
        self.version = ledger.rollback(self.journal, before, "it lied").version or 0
        self.delta = good
        return bad

    def _next(self) -> Row:
        return Row(self.version + 1, self.version + 1, self.version, "step", ledger.now())

    def _publish(self, row: Row, delta: Delta, blobs: dict[str, bytes]) -> None:
        self.journal.append(replace(row, sha256=delta.sha256), blobs)
        self.delta, self.version = delta, self.version + 1


def past(base: Base, place: int, places: int = PLACES) -> tuple[Past, int, int]:
    """A ledger of so many steps with the harmful one at `place`; its version, and that of one that was taken back."""
    rng = random.Random(place)
    made = Past(base, rng, MemoryJournal(), Delta())
    made.journal.append(anchor_row(), {})
    made.basis()
    away, renewed, guilty, undone = rng.randrange(places), rng.randrange(places), 0, 0
    for at in range(places):
        if at == renewed:
            made.basis()
        if at == away and at <= place:
            undone = made.excursion()
        version = made.step(HARMFUL if at == place else HARMLESS)
        guilty = version if at == place else guilty
        if at == away and at > place:  # what comes after the harmful step goes back no further than to itself
            undone = made.excursion()
    return made, guilty, undone


Probe = Callable[[int, Delta, Sequence[Encoded]], Slices[retention.Round]]


def test_it_is_named_wherever_it_stands(base: Base, suites: list[Encoded], probe: Probe) -> None:
    named = 0
    for place in range(PLACES):
        made, guilty, undone = past(base, place)
        rows = made.journal.rows()
        found = run(probe(made.version, made.delta, suites))
        good = retention.rollback_target(rows, {}, [0], made.version)
        lost = retention.lost(found, suites)
        assert {one.suite.name for one in lost} == {"add", "reverse"} and good == 0

        def look(version: int, delta: Delta, lost: Sequence[Encoded] = lost) -> Slices[retention.Round]:
            return probe(version, delta, lost)

        blame = run(bisection.search(made.journal, good, found, look))
        assert blame is not None
        named += blame.first_bad == guilty
        assert blame.events == (f"event-{guilty}", "event-of-all")
        assert not set(blame.events) & set(blame.others)
        assert all(int(event.removeprefix("event-")) > guilty for event in blame.others)
        assert f"event-{undone}" not in blame.others and undone not in blame.looked_at
        assert blame.suites == ("add", "reverse")
        assert len(blame.looked_at) <= math.ceil(math.log2(PLACES)) + 1
        assert {suite for verdicts in blame.looked_at.values() for suite in verdicts} == {"add", "reverse"} or not place
        # The version before it was looked at, if it is not the last good one; then it is served.
        assert blame.target < guilty
        assert blame.target == 0 if place == 0 else blame.target in blame.looked_at
        assert set(blame.looked_at.get(blame.target, {}).values()) <= {"kept"}
        assert made.journal.rows() == rows
        back = ledger.rollback(made.journal, blame.target, "forgot", blame.stats())
        assert back.stats["first_bad"] == guilty and back.stats["last_good"] == 0
        assert run(probe(back.version or 0, ledger.rebuild(made.journal, back.version or 0), lost)).dropped == ()
        assert Row.from_json(back.as_json()) == back
    assert named == PLACES


def pretended(guilty: int, seen: Callable[[], None] = lambda: None) -> bisection.Look:
    """A look that knows."""

    def look(version: int, delta: Delta) -> Slices[retention.Round]:
        yield
        seen()
        return dropped(version, bad=version >= guilty)

    return look


def dropped(version: int, bad: bool = True) -> retention.Round:
    verdict = "dropped" if bad else "kept"
    result = SuiteResult(version, "add", "generation", N, 0.0, 1.0, 0.0, 0.0, 0.0, verdict, "t")  # type: ignore[arg-type]
    return retention.Round(version, "t", (result,), {})


def test_of_a_slow_decline_what_was_still_within_the_tolerance_is_gone_back_to(base: Base) -> None:
    made, _, _ = past(base, 11)

    def look(version: int, delta: Delta) -> Slices[retention.Round]:
        yield
        result = replace(dropped(version).results[0], verdict="kept" if version < 9 else "suspect")
        return retention.Round(version, "t", (result,), {})

    blame = run(bisection.search(made.journal, 0, dropped(made.version), look))
    assert blame is not None and blame.first_bad >= 9 > blame.target
    assert set(blame.looked_at[blame.target].values()) == {"kept"}


def test_what_had_lost_something_else_by_then_is_not_gone_back_to(base: Base) -> None:
    made, guilty, _ = past(base, 11)
    rows = {row.version: row for row in made.journal.rows()}

    def whole(verdict: str) -> bisection.Look:
        def look(version: int, delta: Delta) -> Slices[retention.Round]:
            yield
            assert delta.sha256 == rows[version].sha256
            result = replace(dropped(version).results[0], suite="sort", verdict=verdict)  # type: ignore[arg-type]
            return retention.Round(version, "t", (result,), {})

        return look

    look = pretended(guilty)
    kept = run(bisection.search(made.journal, 0, dropped(made.version), look, whole("kept")))
    lost = run(bisection.search(made.journal, 0, dropped(made.version), look, whole("suspect")))
    assert kept is not None and lost is not None
    assert kept.first_bad == lost.first_bad == guilty and kept.target > 0 == lost.target
    assert lost.looked_at[kept.target] == {"add": "kept", "sort": "suspect"}
    assert kept.events == lost.events and set(kept.others) < set(lost.others)


def test_a_search_that_is_interrupted_has_not_begun(base: Base) -> None:
    made, guilty, _ = past(base, 11)
    rows, head = made.journal.rows(), dropped(made.version)
    whole = run(bisection.search(made.journal, 0, head, pretended(guilty)))
    slices = sum(1 for _ in bisection.search(made.journal, 0, head, pretended(guilty)))
    assert slices > PLACES, "requests go between two rows, and into a look"
    for stop in range(1, slices, 3):
        work = bisection.search(made.journal, 0, head, pretended(guilty))
        for _ in range(stop):
            next(work)
        work.close()
        assert made.journal.rows() == rows
    assert run(bisection.search(made.journal, 0, head, pretended(guilty))) == whole


def test_however_long_the_line_few_deltas_are_held_and_no_good_row_is_replayed_twice(base: Base) -> None:
    held: list[int] = []

    def count() -> None:
        gc.collect()
        held.append(sum(type(one) is Delta for one in gc.get_objects()))

    for places in (4, 64):
        made, guilty, _ = past(base, places - 1, places)
        journal, version = made.journal, made.version
        del made
        count()
        around = held.pop()
        slices = sum(1 for _ in bisection.search(journal, 0, dropped(version), pretended(guilty, count)))
        assert max(held) - around <= 2
        assert slices < version + 10  # a slice a row, and one a look
    assert len(held) >= 6


def test_a_ledger_that_does_not_fit_names_nobody(base: Base) -> None:
    made, guilty, undone = past(base, 11)
    with pytest.raises(StateError, match=f"version {undone} is not on the line"):
        run(bisection.search(made.journal, undone, dropped(made.version), pretended(guilty)))
    other = MemoryJournal()
    for row in made.journal.rows():
        blobs = {row.side: made.journal.blob(row.side)} if row.kind == "basis" and row.side else {}
        other.append(replace(row, alpha=(1.0).hex()) if row.version == 2 else row, blobs)
    with pytest.raises(StateError, match="does not replay"):
        run(bisection.search(other, 0, dropped(made.version), pretended(guilty)))


def test_a_new_basis_alone_is_nobody_s_fault(base: Base) -> None:
    made = Past(base, random.Random(0), MemoryJournal(), Delta())
    made.journal.append(anchor_row(), {})
    made.basis()
    assert run(bisection.search(made.journal, 0, dropped(1), pretended(0))) is None
