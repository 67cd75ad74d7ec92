"""Trials of the verdict on the real model, few and small; and what is reported of trials."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.config import ModelSection
from edge_es.errors import InputError
from edge_es.model import load_base
from edge_es.pocket.abilities import part_of
from edge_es.probes.verdicts import Limits
from edge_es.study import alarms, known
from edge_es.study.alarm_report import COLUMNS, dropped, rows, summary
from edge_es.study.alarms import Trial, scores_of, suites
from edge_es.study.known import DROP, HARMLESS, SUITES, Truth, Wanted, rows_of
from service.cli.main import app

ARGUMENTS = ["study", "alarms", "--trials", "1", "--items", "40", "--truth", "500", "--seed", "3", "--json"]


@pytest.fixture
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (alarms, known):
        monkeypatch.setattr(module, "RESERVE", 200)


@pytest.mark.usefixtures("small_reserve")
def test_trials_are_run_once_and_their_truth_is_as_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*ARGUMENTS, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["harmless"]["trials"] == found["drop"]["trials"] == 1
    assert "alarms-drop-3-000-40: true loss 0.0" in done.stderr
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out").iterdir()}
    names = {f"{kind}-3-000" for kind in ("drop", "harmless")}
    assert set(records) == {f"change-{name}" for name in names} | {f"alarms-{name}-40" for name in names}
    drop, harmless = records["alarms-drop-3-000-40"], records["alarms-harmless-3-000-40"]
    assert DROP[0] <= drop["lost"] <= DROP[1] and list(drop["suites"]) == [SUITES[0]]
    assert harmless["lost"] <= HARMLESS and set(harmless["suites"]) == set(SUITES)
    assert all(records[f"change-{name}"]["scale"] > 0 for name in names)
    assert min(harmless["true_retention"].values()) == pytest.approx(1 - harmless["lost"])
    for record in (drop, harmless):
        assert record["dropped"] == dropped(record, Limits())  # the report judges as the round did
        for one in record["suites"].values():
            now, before = scores_of(one, 40)
            assert one["retention"] == pytest.approx(sum(now) / sum(before))

    def never(*_: object) -> None:
        raise AssertionError("it was made before")

    monkeypatch.setattr(known, "search", never)
    larger = CliRunner().invoke(app, [*arguments, "--kind", "drop", "--items", "60"])
    assert larger.exit_code == 0, larger.output
    monkeypatch.setattr(alarms, "run_trial", never)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and json.loads(again.stdout) == found
    with pytest.raises(AssertionError):
        CliRunner().invoke(app, [*arguments, "--set", "probes.alpha=0.02"], catch_exceptions=False)


@pytest.mark.usefixtures("small_reserve")
def test_suites_are_drawn_for_each_trial_and_disjoint_from_the_truth() -> None:
    truth = Truth(load_base(ModelSection(ref="pocket", device="cpu")), 0, 300)
    found = []
    for number in (0, 1):
        made = suites(truth, Trial(Wanted("harmless", number, 0), 60))
        assert [one.suite.name for one in made] == list(SUITES)
        for one in made:
            assert len({text.prompt for text in one.texts}) == 60
            assert not {text.prompt for text in one.texts} & {text.prompt for text in truth.texts(one.suite.name)}
        found.append([one.texts for one in made])
    assert found[0] != found[1]
    (larger,) = suites(truth, Trial(Wanted("drop", 7, 0), 16))
    (smaller,) = suites(truth, Trial(Wanted("drop", 7, 0), 8))
    assert larger.suite.items[:8] == smaller.suite.items and smaller.suite.name == SUITES[2]
    with pytest.raises(InputError, match="201 items is larger"):
        suites(truth, Trial(Wanted("drop", 7, 0), 201))


def test_truth_and_reserve_are_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are few rows of three digits: drawn first, they would all be the truth's."""
    monkeypatch.setattr(known, "RESERVE", 3000)
    truth = Truth(load_base(ModelSection(ref="pocket", device="cpu")), 0, 3000)
    first = [len(text.answer) for text in truth.texts("sort")]  # 3, 4 or 5 digits with spaces, and the end
    second = [len(item.answer) + 1 for item in truth.reserve("sort")]
    for length in (6, 8, 10):
        assert abs(first.count(length) - second.count(length)) < 3.5 * (2 * min(3000, 1 + first.count(length))) ** 0.5
    assert first.count(6) > 50


@pytest.mark.parametrize("name", SUITES)
def test_each_suites_ability_makes_enough_items_that_are_held_out(name: str) -> None:
    items = rows_of(name, "probe", known.TRUTH + known.RESERVE, random.Random(0), set())
    assert {part_of(item.key) for item in items} == {"probe"}


def places(lost: int, won: int = 0, missed: int = 0) -> dict[str, Any]:
    rng = random.Random(lost)
    some = rng.sample(range(800), lost + won + missed)
    return {"lost": some[:lost], "won": some[lost : lost + won], "missed": some[lost + won :]}


def trial(kind: str, number: int, **of: dict[str, Any]) -> dict[str, Any]:
    return {"trial": {"kind": kind, "number": number, "seed": 0, "items": 800}, "lost": 0.03, "suites": of}


def test_the_report_counts_alarms_and_misses() -> None:
    records = [trial("harmless", n, sort=places(2), reverse=places(1, 1, 3)) for n in range(99)]
    records += [trial("harmless", 99, sort=places(2), reverse=places(40))]
    records += [trial("drop", n, sort=places(30, 1)) for n in range(18)] + [trial("drop", 18, sort=places(3))]
    found = summary(records, Limits())
    assert (found["harmless"]["dropped"], found["harmless"]["met"]) == (1, True)
    assert [one["number"] for one in found["harmless"]["wrong"]] == [99]
    assert (found["drop"]["dropped"], found["drop"]["met"]) == (18, False)
    assert found["drop"]["wrong"][0]["suites"]["sort"] == {
        "verdict": "kept",
        "retention": 1 - 3 / 800,
        "lost": 3,
        "won": 0,
    }
    table = list(rows(found))
    assert all(len(row) == len(COLUMNS) for row in table)
    assert [row[0] for row in table] == ["harmless", "drop"] and table[1][-1] == "no"


def test_a_kind_that_there_is_not_is_said_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*ARGUMENTS, "--kind", "loud", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and "none of harmless, drop" in done.stderr
    assert not (tmp_path / "out").exists()
