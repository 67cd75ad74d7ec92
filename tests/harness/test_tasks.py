"""Tasks of the harness as suites, and what of them no suite can hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge_es.errors import InputError
from service.cli.main import app

ROWS = [{"ctx": f"Item {i}: a bird can", "endings": ["fly.", f"read {i}."], "label": i % 2} for i in range(10)]


def converted(make_task: Any, rows: list[dict[str, Any]] | None = None, limit: int | None = None, **task: Any) -> Any:
    from edge_es.harness.tasks import items, load_task

    folder = make_task("birds", rows or ROWS, **task)
    return items(load_task("birds", folder), "birds", limit)


def test_choices_keep_their_context_their_label_and_what_stands_between(make_task: Any) -> None:
    lines = converted(make_task)
    assert lines[1] == {"prompt": "Item 1: a bird can", "raw": True, "choices": ["fly.", "read 1."], "label": 1}
    lines = converted(make_task, text="{{ctx}}  ")
    assert lines[0]["prompt"] == "Item 0: a bird can" and lines[0]["delimiter"].strip() == ""
    lines = converted(make_task, more='doc_to_choice: endings\ntarget_delimiter: "\\n"')
    assert {line["delimiter"] for line in lines} == {"\n"}


def test_a_limit_takes_items_evenly_and_repeats_are_left_out(make_task: Any) -> None:
    assert [line["prompt"][5] for line in converted(make_task, limit=5)] == ["0", "2", "4", "6", "8"]
    assert len(converted(make_task, [*ROWS, *ROWS])) == 10


def test_targets_that_are_said_and_texts(make_task: Any) -> None:
    told = {"output": "loglikelihood", "target": " {{endings[0]}}", "more": "", "metrics": ("acc",)}
    assert converted(make_task, **told)[0] == {
        "prompt": "Item 0: a bird can",
        "raw": True,
        "answer": " fly.",
        "ended": False,
    }
    told = {
        "output": "loglikelihood_rolling",
        "text": "",
        "target": "{{ctx}}",
        "more": "",
        "metrics": ("word_perplexity",),
    }
    assert converted(make_task, **told)[0] == {"text": "Item 0: a bird can"}


def test_what_no_suite_can_hold_is_named(make_task: Any) -> None:
    with pytest.raises(InputError, match="generate_until"):
        converted(make_task, output="generate_until", more="", metrics=("exact_match",))
    from edge_es.harness.tasks import load_task

    with pytest.raises(InputError, match="no task of this harness"):
        load_task("no-such-task")


def test_the_command_writes_the_suite(make_task: Any, tmp_path: Path) -> None:
    folder, state = make_task("birds", ROWS), tmp_path / "state"
    state.mkdir()
    command = ["probe", "add", "lm-eval:birds", "--tasks", str(folder), "--limit", "4", "--preview", "0", "--json"]
    done = CliRunner().invoke(app, [*command, "--state-dir", str(state)])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert (row["suite"], row["kind"], row["items"]) == ("lm-eval-birds", "choice", 4)
    assert len((state / "probes" / "lm-eval-birds.jsonl").read_text().splitlines()) == 4
