"""Bad feedback is refused by field, whatever is wrong with it, and leaves nothing behind."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from echo_daemon import CONTEXT, Daemon, refused, served
from feedback_bodies import ASK, GRADED, SECTIONS, SHOWN, new_id, serve_one
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import MetricSection
from edge_es.feedback import Event
from service.resolve import resolve_feedback
from service.schemas import Feedback


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that store nothing."""
    with served(tmp_path_factory.mktemp("refusing"), **SECTIONS) as made:
        yield made


# bad input


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"value": ""}, 400, "value"),
        ({"value": 4}, 400, "value"),
        ({"value": None}, 400, "value"),
        ({"metric_name": "quality"}, 400, "metric_name"),
        ({"metric_name": 1}, 422, "metric_name"),
        ({"metric_name": None}, 422, "metric_name"),
        ({"metric_name": "rating", "value": 0.5}, 400, "output"),
        ({"output": "5"}, 400, "output"),
        (
            {"input": None, "inference_id": new_id(), "output": "5", "metric_name": "thumbs", "value": True},
            400,
            "output",
        ),
        ({"output": "", "metric_name": "thumbs", "value": True}, 422, "output"),
        ({"metric_name": "preference", "value": "4"}, 400, "value"),
        ({"metric_name": "preference", "value": {"chosen": "4"}}, 400, "value.rejected"),
        ({"metric_name": "preference", "value": {"chosen": "4", "rejected": "4"}}, 400, "value"),
        ({"metric_name": "preference", "value": {"chosen": "4", "rejected": "5", "why": ""}}, 422, "value.why"),
        ({"input": {}}, 422, "input"),
        ({"input": {"prompt": "a", **ASK}}, 422, "input"),
        ({"input": {"messages": []}}, 422, "input.messages"),
        ({"input": {"messages": [{"role": "user", "content": 5}]}}, 422, "input.messages[0].content"),
        ({"input": {"prompt": "x" * CONTEXT}}, 400, "input"),
        ({"value": "x" * CONTEXT}, 400, "value"),
        ({"id": "1"}, 422, "id"),
        ({"tags": {"a": 1}}, 422, "tags.a"),
        ({"tags": ["a"]}, 422, "tags"),
        ({"dryrun": "yes"}, 422, "dryrun"),
        ({"colour": "red"}, 422, "colour"),
        ({"episode_id": "s1"}, 422, None),
        ({"input": None}, 422, None),
        ({"input": None, "inference_id": "1"}, 422, "inference_id"),
        ({"input": None, "inference_id": new_id()}, 404, "inference_id"),
        ({"input": None, "episode_id": "s1"}, 400, "episode_id"),
        ({"input": None, "episode_id": "s1", "metric_name": "thumbs", "value": True}, 404, "episode_id"),
    ],
)
def test_bad_feedback_is_refused_by_field_and_leaves_nothing(
    refusing: Daemon, change: dict[str, Any], status: int, param: str | None
) -> None:
    error = refused(refusing.client.post("/v1/feedback", json=SHOWN | change), status)
    assert error["param"] == param
    assert param is None or param in error["message"] or param == "input"
    assert refusing.store.list_events() == [] and refusing.engine.woken == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thumbs", 1),
        ("thumbs", "yes"),
        ("rating", True),
        ("rating", "0.5"),
        ("rating", 1.01),
        ("errors", -1),
        ("rating", None),
    ],
)
def test_a_rating_of_the_wrong_type_or_range_is_refused(refusing: Daemon, name: str, value: Any) -> None:
    body = {"inference_id": serve_one(refusing), "metric_name": name, "value": value}
    refused(refusing.client.post("/v1/feedback", json=body), 400, "value")


def test_a_rating_of_several_answers_is_refused(refusing: Daemon) -> None:
    body = {"inference_id": serve_one(refusing, n=2), "metric_name": "thumbs", "value": True}
    refused(refusing.client.post("/v1/feedback", json=body), 400, "inference_id")


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", None),
        ("{", None),
        ("[]", None),
        ("null", None),
        ('{"value": NaN}', "value"),
        ('{"value": -Infinity}', "value"),
        ('{"value": 1e999}', "value"),
        ('{"tags": {"a": [1, NaN]}}', "tags.a[1]"),
        ('{"value": "4", "value": "5"}', "value"),
        ('{"input": {"prompt": "a", "prompt": "b"}}', "input.prompt"),
        ('{"value": "\\ud800"}', "value"),
        ('{"\\ud800": 1}', None),
        ('{"value": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ('{"value": ' + "1" * 5000 + "}", None),
        ('{"value": "\xff"}', None),
    ],
)
def test_what_is_no_proper_json_is_refused(refusing: Daemon, text: str, param: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    error = refused(refusing.client.post("/v1/feedback", content=text.encode("latin-1"), headers=headers), 400)
    assert error["param"] == param
    assert refusing.store.list_events() == []


@pytest.mark.parametrize(
    ("grader", "param"),
    [({}, "grader"), ({"type": "python", "code": "1"}, "grader"), ({"type": "string_check"}, "grader")],
)
def test_a_grader_that_could_not_grade_is_refused(refusing: Daemon, grader: dict[str, Any], param: str) -> None:
    error = refused(refusing.client.post("/v1/tasks", json={**GRADED, "grader": grader}), 400)
    assert error["param"].startswith(param)
    assert refusing.store.list_events() == []


@given(
    value=st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text()),
    metric=st.sampled_from(["thumbs", "rating", "demonstration", "preference", "comment", "other"]),
)
def test_any_value_is_stored_or_refused_by_name(value: Any, metric: str) -> None:
    from edge_es.errors import InputError

    body = Feedback.model_validate({"input": {"prompt": "a"}, "metric_name": metric, "value": value})
    metrics = {"thumbs": MetricSection(type="boolean"), "rating": MetricSection(type="float")}
    try:
        event = resolve_feedback(body, new_id(), metrics, None)  # type: ignore[arg-type]
    except InputError as error:
        assert error.param in ("value", "metric_name", "output")  # noqa: PT017
    else:
        assert isinstance(value, str) and value and metric in ("demonstration", "comment")
        assert Event.from_json(json.loads(json.dumps(event.as_json()))) == event


@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_a_batch_of_another_content_type_is_refused(refusing: Daemon, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused(refusing.client.post("/v1/feedback/batch", content=json.dumps(SHOWN), headers=headers), 415, "Content-Type")
