"""`edge-es probe add`: from JSON Lines, CSV and a harness task, with what the anchor makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.probes.suites import load_suite
from service.cli.main import app


def add(*arguments: Any, status: int = 0) -> Any:
    done = CliRunner().invoke(app, ["probe", "add", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder, named by the environment."""
    made = tmp_path / "state"
    made.mkdir()
    monkeypatch.setenv("EDGE_ES_STATE__DIR", str(made))
    return made


def test_the_anchor_is_shown_before_a_suite_is_added(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    items = [{"prompt": f"What is {a}+{b}?", "answer": str(a + b)} for a in range(11, 17) for b in range(21, 27)]
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    row = add(file, "--preview", 3, "--json")
    assert (row["suite"], row["kind"], row["items"], row["model"]) == ("sums", "generation", 36, "pocket")
    assert 0 <= row["anchor"] <= 1 and [one["asked"] for one in row["preview"]] == [i["prompt"] for i in items[:3]]
    for one in row["preview"]:
        assert one["score"] == float(one["answered"] == one["right"])
    assert (folder / "probes" / "sums.jsonl").read_bytes() == file.read_bytes()
    told = add(file, "--dry-run")
    assert "anchor (pocket)" in told and "What is 11+21?" in told and "not added" in told and "items are few" in told


def test_a_table_becomes_lines(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "capitals.csv"
    file.write_text(
        'prompt,choices,label\n"Capital of France?",Paris|Rome,Paris\n"Of Italy, please?","[""Paris"", ""Rome""]",1\n'
    )
    row = add(file, "--preview", 0, "--json")
    assert row == {"suite": "capitals", "kind": "choice", "items": 2, "file": str(folder / "probes/capitals.jsonl")}
    suite = load_suite(folder / "probes" / "capitals.jsonl")
    assert [item.choices[item.label] for item in suite.items] == ["Paris", "Rome"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt,answers\na,b\n", "no column 'answers'"),
        ("prompt,choices,label\na,x|y,z\n", "line 2: `label` 'z'"),
        ("prompt,answer\na,b,c\n", "line 2: it has more"),
        ("prompt,answer\na,\n", "line 1: an item has"),
        ('prompt,answer\n"a,b\n', "no CSV"),
    ],
)
def test_a_wrong_table_is_named(folder: Path, tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    assert told in add(file, "--preview", 0, status=1)
    assert not (folder / "probes").exists()


def test_a_name_that_a_configured_suite_has_is_refused(folder: Path, tmp_path: Path) -> None:
    """It was taken, and the daemon then refused to start."""
    file = tmp_path / "facts.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n')
    told = add(file, "--preview", 0, status=1)
    assert "there is a suite 'facts' already" in told and "rename" in told and not (folder / "probes").exists()
    (tmp_path / "c.toml").write_text("[probes]\nsuites = []\n")
    add(file, "--preview", 0, "--config", tmp_path / "c.toml")


def test_a_folder_that_takes_no_suite_is_one_line(folder: Path, tmp_path: Path) -> None:
    (folder / "probes").write_text("")
    (tmp_path / "one.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    assert "one.jsonl cannot be written: " in add(tmp_path / "one.jsonl", "--preview", 0, status=1)


def test_another_suite_of_the_name_and_a_missing_file_are_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n')
    add(file, "--preview", 0)
    file.write_text('{"prompt": "a", "answer": "c"}\n')
    assert "holds another suite" in add(file, "--preview", 0, status=1)
    assert "does not exist" in add(tmp_path / "none.jsonl", status=2)
    folder.joinpath("probes/one.jsonl").unlink()
    folder.joinpath("probes").rmdir()
    folder.rmdir()
    assert "there is no state folder" in add(file, "--preview", 0, status=1)


def test_a_harness_task_needs_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as where it is not installed
    assert "pip install 'edge-es[lm-eval]'" in add("lm-eval:hellaswag", "--preview", 0, status=1)
