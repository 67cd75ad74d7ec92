"""Trials of the verdict on the real model, few and small; and what is reported of trials."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.config import ModelSection
from edge_es.model import load_base
from edge_es.pocket.abilities import part_of
from edge_es.probes.verdicts import Limits
from edge_es.study import alarms, known
from edge_es.study.alarm_report import COLUMNS, dropped, rows, summary
from edge_es.study.alarms import Trial, scores_of, suites
from edge_es.study.known import DROP, HARMLESS, SUITES, Wanted, rows_of
from service.cli.main import app

ARGUMENTS = ["study", "alarms", "--trials", "1", "--items", "40", "--truth", "500", "--seed", "3", "--json"]


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


def test_suites_are_each_trials_own_and_disjoint_from_the_truth() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    taken: set[str] = set()
    for name in SUITES:
        rows_of(name, "probe", 300, random.Random(name), taken)
    prompts = []
    for number in (0, 1):
        made = suites(base, Trial(Wanted("harmless", number, 0), 60), taken)
        assert [one.suite.name for one in made] == list(SUITES)
        items = [item for one in made for item in one.suite.items]
        assert all(item.prompt is not None for item in items)
        prompts.append({item.prompt.messages[0].content for item in items if item.prompt})
        assert len(prompts[-1]) == 60 * len(SUITES) and not prompts[-1] & taken
    assert len(prompts[0] & prompts[1]) < 60
    (larger,) = suites(base, Trial(Wanted("drop", 7, 0), 16), taken)
    (smaller,) = suites(base, Trial(Wanted("drop", 7, 0), 8), taken)
    assert larger.suite.items[:8] == smaller.suite.items and smaller.suite.name == SUITES[2]


@pytest.mark.parametrize("name", SUITES)
def test_each_suites_ability_makes_enough_items_that_are_held_out(name: str) -> None:
    items = rows_of(name, "probe", known.TRUTH + 2000, random.Random(0), set())
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
