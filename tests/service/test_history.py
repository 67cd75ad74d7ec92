"""History and stories of a long past, made up but for its form."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_es.config import Config
from service import listings, sentences
from service.history import History
from service.overview import overview
from service.store import Store
from service.stories import story
from tests.browser.fabricated import LEARNED, SUITES, fill

VERSIONS, EVERY = 500, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("past") / "state"
    fill(place, VERSIONS, EVERY)
    return place


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    found = Store.open_read_only(folder)
    yield found
    found.close()


def test_lines_are_thinned_and_no_dip_is_lost(store: Store) -> None:
    whole = {
        (row["suite"], row["version"]): row["retention"]
        for row in store.probe_results()
        if row["kind"] not in ("loglik", "acc")
    }
    found = History(store).read(0, None, 20)
    assert (found["first"], found["last"], found["newest"]) == (0, VERSIONS, VERSIONS)
    assert [line["suite"] for line in found["retention"]] == sorted((*SUITES, LEARNED))
    for line in found["retention"]:
        assert len(line["version"]) <= 22 and line["version"] == sorted(line["version"])
        assert line["version"][-1] == VERSIONS  # the newest is always there
        lowest = min(ratio for (suite, _), ratio in whole.items() if suite == line["suite"])
        assert min(line["retention"]) == pytest.approx(lowest, abs=1e-4)
        for version, ratio in zip(line["version"], line["retention"], strict=True):
            assert ratio == pytest.approx(whole[line["suite"], version], abs=1e-4)
    assert len(found["norms"]["version"]) <= 21
    assert all(len(values) == len(found["fitness"]["version"]) for values in found["fitness"]["kinds"].values())
    assert set(found["fitness"]["kinds"]) == {"demonstration", "rating"}


def test_a_part_of_it_is_shown_whole(store: Store) -> None:
    found = History(store).read(451, None, 300)
    line = found["retention"][0]
    assert line["version"] == [460, 470, 480, 490, 500]
    assert found["norms"]["version"] == list(range(451, 501))
    assert History(store).read(VERSIONS + 5, None, 300)["norms"]["version"] == []


def test_what_goes_back_has_the_norm_of_its_target(store: Store) -> None:
    norms = History(store).read(0, None, 1000)["norms"]
    by_version = dict(zip(norms["version"], norms["delta_norm"], strict=True))
    assert by_version[VERSIONS] == by_version[0] == 0.0
    marks = [mark for mark in History(store).read(0, None, 10)["rollbacks"] if mark["automatic"]]
    assert marks and all(by_version[mark["version"]] == by_version[mark["target"]] for mark in marks)


def test_it_goes_on_from_where_it_was_left(tmp_path: Path) -> None:
    fill(tmp_path / "state", 30, 10)
    with Store(tmp_path / "state") as store:
        history = History(store)
        before = history.attempts()
        from edge_es import ledger

        ledger.rollback(store, 0, "by hand")
        after = history.attempts()
        assert list(after[: len(before)]) == list(before) and len(after) == len(before) + 1
        assert (after[-1].kind, after[-1].automatic) == ("rollback", False)


def test_the_story_names_suites_items_and_lessons(store: Store) -> None:
    version = next(mark["version"] for mark in History(store).read(0, None, 10)["rollbacks"] if mark["automatic"])
    found = story(store, Config(), version)
    assert found is not None and found["automatic"]
    (lost,) = [one for one in found["suites"] if one["verdict"] == "dropped"]
    assert lost["retention"] < 0.95 < lost["after"]
    assert found["items_changed"] == len(found["items"]) == 9
    assert {(item["suite"], item["anchor"], item["before"], item["after"]) for item in found["items"]} == {
        (lost["suite"], 1.0, 0.0, 1.0)
    }
    assert found["events_used"] == len(found["events"]) > 0
    assert {event["state"] for event in found["events"]} == {"set_aside"}
    assert all(event["input"]["prompt"].startswith("What is") for event in found["events"])
    assert story(store, Config(), 1) is None and story(store, Config(), 10**6) is None


def test_an_overview_of_it(store: Store) -> None:
    row = overview(store, History(store), None, datetime.now(UTC))
    assert row["version"] == VERSIONS and not row["ready"]
    assert row["week"]["rollbacks"] >= 1 and row["week"]["lessons"] == 2 * row["week"]["published"]
    assert row["forgotten"]["answer"] == "no" and "10 abilities" in row["forgotten"]["sentence"]
    assert "shown answers" in row["learned"]
    assert listings.status(store)["retention"].keys() == {*SUITES, LEARNED}


def suite(name: str, ratio: float | None, verdict: str, version: int = 4) -> dict[str, object]:
    ends = {"ci_low": None, "ci_high": None}
    return {"suite": name, "retention": ratio, "verdict": verdict, "version": version, "learned": False, **ends}


def test_sentences_say_the_worst_first() -> None:
    kept, less, gone = suite("a", 1.0, "kept"), suite("b", 0.97, "suspect"), suite("c", 0.5, "dropped")
    assert sentences.forgotten([], 0, False)[0] == sentences.forgotten([], 0, True)[0] == "unknown"
    assert sentences.forgotten([kept], 4, True) == ("no", "No. It is kept: a at 1.000.")
    assert sentences.forgotten([kept], 6, True)[1].endswith("Measured at version 4, 2 versions ago.")
    assert sentences.forgotten([kept, less], 4, True)[0] == "perhaps"
    answer, text = sentences.forgotten([kept, less, gone], 5, True, back=5)
    assert answer == "unknown" and text.startswith("It had: ") and "went back since" in text
    assert sentences.forgotten([kept, less], 4, True, back=2)[0] == "perhaps"  # measured since
    answer, text = sentences.forgotten([kept, less, gone], 4, True)
    assert answer == "yes" and "c at 0.500" in text and "b at" not in text
    nothing = {"published": 0, "rejected": 0, "rollbacks": 0, "lessons": 0}
    assert sentences.learned(nothing, {}, 2) == "Nothing was learned this week. 2 lessons wait to be learned."
    week = {"published": 3, "rejected": 0, "rollbacks": 1, "lessons": 5}
    said = sentences.learned(week, {"learned-task": (0.25, 0.5)}, 0)
    assert "5 lessons in 3 steps" in said and "scores 0.50, after 0.25" in said and "went back 1 time." in said
