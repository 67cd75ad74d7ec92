"""`edge-es feedback send`: the ids that make it resumable, the groups, the report."""

import json
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_es.errors import InputError
from service.cli.feedback import GROUP, GROUP_BYTES, Line, Report, groups, read_lines, take_in
from service.cli.main import app
from service.security import MAX_BODY

A = '{"inference_id": "x", "metric_name": "thumbs", "value": true}'
B = '{"inference_id": "y", "metric_name": "thumbs", "value": true}'


def ids(text: str) -> list[str]:
    return [line.body["id"] for line in read_lines(text, "f")]


def test_ids_follow_from_content_not_from_place() -> None:
    first, second = ids(f"{A}\n{B}\n")
    assert ids(f"{B}\n\n{A}") == [second, first]
    assert uuid.UUID(first).version == 5
    reordered = '{"value": true, "metric_name": "thumbs", "inference_id": "x"}'
    assert ids(reordered) == [first]


def test_equal_lines_stay_two_events_and_keep_their_ids() -> None:
    twice = ids(f"{A}\n{A}")
    assert len(set(twice)) == 2
    assert ids(f"{A}\n{B}\n{A}")[::2] == twice


def test_ids_never_change_between_releases() -> None:
    assert ids(A) == ["870f3ce3-3f08-5d6f-9275-790f5c63a068"]


def test_only_a_newline_ends_a_line() -> None:
    assert len(ids('{"value": "a\u2028b"}\r\n{"value": "c\x0c"}'.replace("\x0c", ""))) == 2


def test_a_given_id_is_kept() -> None:
    assert ids('{"id": "mine", "value": 1}') == ["mine"]


@pytest.mark.parametrize("bad", ["{", "[1]", '"text"', "NaN", '{"value": NaN}', '{"value": Infinity}'])
def test_a_broken_line_is_named(bad: str) -> None:
    with pytest.raises(InputError, match=r"f\.jsonl, line 3: "):
        list(read_lines(f"{A}\n\n{bad}\n", "f.jsonl"))


def test_a_broken_file_sends_nothing_at_all(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text(f"{A}\n{{\n")
    # No daemon is asked for: a broken file is refused before that.
    done = CliRunner().invoke(app, ["feedback", "send", str(file), "--state-dir", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "line 2" in done.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["feedback", "send", str(tmp_path / "no.jsonl")])
    assert done.exit_code == 1
    assert "no.jsonl" in done.stderr


def test_tasks_go_to_their_own_endpoint_in_the_order_of_the_file() -> None:
    task = '{"input": {"prompt": "1+1="}, "grader": {"type": "numeric"}}'
    lines = list(read_lines("\n".join([A] * (GROUP + 1) + [task, B]), "f"))
    found = list(groups(lines))
    assert [len(group) for group in found] == [GROUP, 1, 1, 1]
    paths = [group[0].path for group in found]
    assert paths == ["/v1/feedback/batch", "/v1/feedback/batch", "/v1/tasks/batch", "/v1/feedback/batch"]
    assert [line for group in found for line in group] == lines


def test_a_request_stays_under_the_limit_of_a_body() -> None:
    assert GROUP_BYTES < MAX_BODY
    long = json.dumps({"input": {"prompt": "é" * 300_000}, "metric_name": "demonstration", "value": "a"})
    lines = list(read_lines("\n".join([long] * 7), "f"))
    found = list(groups(lines))
    assert [line for group in found for line in group] == lines
    assert max(sum(len(line.encoded()) for line in group) for group in found) <= GROUP_BYTES and len(found) == 3
    alone = list(groups(list(read_lines("\n".join([A, json.dumps({"value": "x" * MAX_BODY}), B]), "f"))))
    assert [len(group) for group in alone] == [1, 1, 1], "a line that is too long goes alone"


def test_the_report_names_lines_of_the_file() -> None:
    group = [Line(7, "/v1/feedback/batch", {}), Line(9, "/v1/feedback/batch", {}), Line(12, "", {})]
    report = Report(lines=3)
    results = [
        {"line": 1, "feedback_id": "a", "repeated": False},
        {"line": 2, "error": {"message": "no such metric", "param": "metric_name"}},
        {"line": 3, "feedback_id": "b", "repeated": True},
    ]
    take_in(report, group, {"results": results})
    found = report.as_json()
    assert (found["accepted"], found["repeated"], found["ok"]) == (1, 1, False)
    assert found["rejected"] == [{"line": 9, "message": "no such metric", "param": "metric_name"}]
    json.dumps(found)
