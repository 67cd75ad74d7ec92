"""Exports of others as events, by samples in the shapes that their exporters write."""

import json
from typing import Any

import pytest

from edge_es.errors import InputError
from service.importers import convert, langfuse, openwebui, plain

QUESTION, GOOD, BAD = "m-1", "m-2", "m-3"


def entry(message: str, thumb: Any, entry_id: str = "f-1", **data: Any) -> dict[str, Any]:
    """As Open WebUI's feedback table has it: the snapshot holds the chat's row, whose `chat` holds the messages."""
    messages = {
        "m-0": {"id": "m-0", "parentId": None, "role": "system", "content": "Be brief."},
        QUESTION: {"id": QUESTION, "parentId": "m-0", "childrenIds": [GOOD, BAD], "role": "user", "content": "2+2?"},
        GOOD: {"id": GOOD, "parentId": QUESTION, "role": "assistant", "content": "4", "model": "pocket"},
        BAD: {"id": BAD, "parentId": QUESTION, "role": "assistant", "content": "5", "model": "pocket"},
    }
    chat = {"title": "Sums", "models": ["pocket"], "history": {"messages": messages, "currentId": GOOD}}
    return {
        "id": entry_id,
        "user_id": "u",
        "version": 0,
        "type": "rating",
        "data": {"rating": thumb, "model_id": "pocket", "sibling_model_ids": None, "comment": "", **data},
        "meta": {"arena": False, "chat_id": "c", "message_id": message, "message_index": 2},
        "snapshot": {"chat": {"id": "c", "user_id": "u", "title": "Sums", "chat": chat}},
        "created_at": 1732500000,
        "updated_at": 1732500000,
    }


ASKED = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]}


def test_open_webui_thumbs_are_ratings_and_two_of_them_a_preference() -> None:
    export = [entry(GOOD, 1, "f-1", reason="accurate_information", comment="fine"), entry(BAD, -1, "f-2")]
    found = convert(openwebui.read(json.dumps(export)), "openwebui")
    assert not found.refusals
    bodies = [body for _, body in found.bodies]
    assert [body["metric_name"] for body in bodies] == ["thumbs", "comment", "thumbs", "preference"]
    assert all(body["input"] == ASKED for body in bodies)
    assert (bodies[0]["output"], bodies[0]["value"]) == ("4", True)
    assert (bodies[2]["output"], bodies[2]["value"]) == ("5", False)
    assert bodies[0]["tags"] == {"source": "openwebui", "model": "pocket", "reason": "accurate_information"}
    assert bodies[3]["value"] == {"chosen": "4", "rejected": "5"}
    assert [number for number, _ in found.bodies] == [1, 1, 2, 2]


def test_a_repeated_export_has_the_same_ids_and_a_changed_rating_another() -> None:
    def ids(*export: dict[str, Any]) -> list[str]:
        return [body["id"] for _, body in convert(openwebui.read(json.dumps(export)), "openwebui").bodies]

    first = ids(entry(GOOD, 1, "f-1"))
    assert ids(entry(GOOD, 1, "f-1")) == first
    assert ids(entry(BAD, -1, "f-9"), entry(GOOD, 1, "f-1"))[1] == first[0]  # order and company change nothing
    assert ids(entry(GOOD, -1, "f-1")) != first
    assert len(ids(entry(GOOD, 1, "f-1"), entry(GOOD, 1, "f-1"))) == 1


def test_open_webui_entries_without_a_thumb_or_a_message_are_named() -> None:
    lost = entry(GOOD, 1)
    lost["snapshot"] = {"chat": {"id": "c"}}
    flat = entry(GOOD, "1")
    flat["snapshot"] = {"history": flat["snapshot"]["chat"]["chat"]["history"]}
    export = [entry(GOOD, 0), {**entry(GOOD, 1), "type": "survey"}, lost, 5, entry("m-0", 1), flat]
    found = convert(openwebui.read(json.dumps(export)), "openwebui")
    assert [refusal["line"] for refusal in found.refusals] == [1, 2, 3, 4, 5]
    for word, refusal in zip(("thumb", "survey", "snapshot", "object", "answers nothing"), found.refusals, strict=True):
        assert word in refusal["message"]
    assert [number for number, _ in found.bodies] == [6]


SERVED = "0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01"
TABLE = f"""id,traceId,sessionId,observationId,name,dataType,value,stringValue,comment,source
s1,{SERVED.replace("-", "")},,,helpful,BOOLEAN,1,True,,ANNOTATION
s2,t2,,{SERVED},quality,NUMERIC,0.5,,"well, said",API
s3,{SERVED},,,tone,CATEGORICAL,0,bad,,ANNOTATION
s4,,chat-7,,helpful,BOOLEAN,0,False,,ANNOTATION
s5,{SERVED},,,note,TEXT,0,too long,,ANNOTATION
s6,{SERVED},,,tone,CATEGORICAL,2,purple,,ANNOTATION
s7,t9,,,helpful,BOOLEAN,1,True,,ANNOTATION
s8,{SERVED},,,quality,NUMERIC,7,,,API
s9,,,,quality,NUMERIC,1,,,API
"""


def test_langfuse_scores_from_its_table() -> None:
    found = convert(langfuse.read(TABLE), "langfuse")
    said = [(n, b.get("inference_id") or b.get("episode_id"), b["metric_name"], b["value"]) for n, b in found.bodies]
    assert said == [
        (2, SERVED, "thumbs", True),
        (3, SERVED, "rating", 0.5),
        (3, SERVED, "comment", "well, said"),
        (4, SERVED, "thumbs", False),
        (5, "chat-7", "thumbs", False),
        (6, SERVED, "comment", "too long"),
    ]
    assert found.bodies[0][1]["tags"] == {"source": "langfuse", "score": "helpful", "origin": "ANNOTATION"}
    told = {refusal["line"]: refusal["message"] for refusal in found.refusals}
    assert list(told) == [7, 8, 9, 10]
    assert "purple" in told[7] and "--traces" in told[8] and "metrics.quality" in told[9] and "no trace" in told[10]
    assert len({body["id"] for _, body in found.bodies}) == 6


def test_langfuse_scores_of_a_configured_metric_and_with_their_texts() -> None:
    scores = [
        {"id": "s1", "trace_id": "t1", "name": "quality", "data_type": "NUMERIC", "value": 7, "comment": "good"},
        {"id": "s2", "trace_id": "t2", "name": "ok", "data_type": "BOOLEAN", "value": 0, "string_value": None},
    ]
    traces = [
        {"id": "t1", "input": json.dumps([{"role": "user", "content": "2+2?"}]), "output": {"content": "4"}},
        {"id": "t2", "input": "2+2?", "output": json.dumps({"choices": [{"message": {"content": "5"}}]})},
        {"id": "t3", "input": None, "output": "x"},
    ]
    lines = "\n".join(map(json.dumps, scores))
    found = convert(langfuse.read(lines, json.dumps({"data": traces}), {"quality": "float"}), "langfuse")
    asked = {"messages": [{"role": "user", "content": "2+2?"}]}
    assert not found.refusals
    assert [(b["input"], b.get("output"), b["metric_name"], b["value"]) for _, b in found.bodies] == [
        (asked, "4", "quality", 7.0),
        (asked, None, "comment", "good"),
        (asked, "5", "thumbs", False),
    ]


def test_plain_tables() -> None:
    rows = [
        {"prompt": "2+2?", "answer": "4", "source": "sheet"},
        {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
        {"prompt": "2+2?", "answer": "5", "rating": "down"},
        {"inference_id": SERVED, "rating": 0.5},
        {"messages": [{"role": "user", "content": "hi"}], "comment": "odd"},
        {"episode_id": "s", "rating": True, "metric": "solved"},
        {"input": {"prompt": "a"}, "metric_name": "demonstration", "value": "b", "id": SERVED},
        {"prompt": "a"},
        {"prompt": "a", "rating": 1},
        {"prompt": "a", "answer": "b", "colour": "red"},
        {"answer": "b"},
        {"prompt": "a", "chosen": "b"},
        {"prompt": "a", "answer": "b", "rating": "purple"},
    ]
    text = "\n".join(map(json.dumps, rows)) + "\nno json\n"
    found = convert(plain.read(text), "jsonl")
    said = [(b["metric_name"], b["value"], b["tags"]["source"]) for _, b in found.bodies]
    assert said == [
        ("demonstration", "4", "sheet"),
        ("preference", {"chosen": "4", "rejected": "5"}, "jsonl"),
        ("thumbs", False, "jsonl"),
        ("rating", 0.5, "jsonl"),
        ("comment", "odd", "jsonl"),
        ("solved", True, "jsonl"),
        ("demonstration", "b", "jsonl"),
    ]
    assert found.bodies[2][1]["output"] == "5" and found.bodies[6][1]["id"] == SERVED
    assert [refusal["line"] for refusal in found.refusals] == [8, 9, 10, 11, 12, 13, 14]
    table = 'prompt,answer,rating\n2+2?,4,1\n"a, b","two\nlines",0.25\n'
    found = convert(plain.read(table), "csv")
    assert [(b["output"], b["metric_name"], b["value"]) for _, b in found.bodies] == [
        ("4", "thumbs", True),
        ("two\nlines", "rating", 0.25),
    ]


@pytest.mark.parametrize("text", ['[{"a": 1', '{"data": 5}', 'a,b\n"x'])
def test_a_broken_file_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(InputError, match=r"JSON|CSV"):
        convert(plain.read(text), "jsonl")


def test_a_row_of_a_table_is_taken_whole_or_refused() -> None:
    """A comma outside quotes once made a lesson of half an answer, and U+2028 two rows of one."""
    found = convert(plain.read("prompt,answer\nSay hello, please,hi\na\u2028b\x0c\x85c,d\nlonely\n"), "csv")
    assert [(refusal["line"], "cells" in refusal["message"]) for refusal in found.refusals] == [(2, True), (4, True)]
    ((number, body),) = found.bodies
    assert (number, body["input"]["messages"][0]["content"], body["value"]) == (3, "a\u2028b\x0c\x85c", "d")


def test_a_rating_is_read_by_the_type_of_its_metric() -> None:
    table = "prompt,answer,rating,metric\na,b,1,stars\na,b,-1,stars\na,b,1,solved\na,b,0,solved\na,b,1,other\n"
    found = convert(plain.read(table, {"stars": "float", "solved": "boolean"}), "csv")
    said = [(body["metric_name"], body["value"]) for _, body in found.bodies]
    assert said == [("stars", 1.0), ("stars", -1.0), ("solved", True), ("solved", False), ("other", True)]
    assert [type(value) for _, value in said] == [float, float, bool, bool, bool]
    scores = [
        {"id": str(n), "trace_id": SERVED, "name": name, "data_type": kind, "value": value}
        for n, (name, kind, value) in enumerate(
            [("stars", "BOOLEAN", 1), ("solved", "NUMERIC", 1), ("solved", "BOOLEAN", 0), ("stars", "NUMERIC", 0.5)]
        )
    ]
    found = convert(langfuse.read(json.dumps(scores), None, {"stars": "float", "solved": "boolean"}), "langfuse")
    assert [(body["metric_name"], body["value"]) for _, body in found.bodies] == [
        *(("thumbs", True), ("solved", True), ("solved", False), ("stars", 0.5))
    ]


def test_what_is_no_number_is_refused() -> None:
    found = convert(plain.read('{"prompt": "a", "answer": "b", "rating": NaN}\n{"prompt": "a"}\n'), "jsonl")
    assert "NaN is no JSON number" in found.refusals[0]["message"] and len(found.refusals) == 2
    assert convert(plain.read("prompt,answer,rating\na,b,nan\na,b,inf\n"), "csv").bodies == []
    with pytest.raises(InputError, match="NaN is no JSON number"):
        convert(plain.read('[{"rating": NaN}]'), "jsonl")
    score = {"id": "s", "trace_id": SERVED, "name": "stars", "value": "nan"}
    found = convert(langfuse.read(json.dumps([score]), None, {"stars": "float"}), "langfuse")
    assert "is no number" in found.refusals[0]["message"]


ODD = [
    {"data": "x"},
    {"data": {"rating": 1}, "meta": "x"},
    {"data": {"rating": 1}, "snapshot": [1]},
    {"data": {"rating": 1}, "meta": {"message_id": "a"}, "snapshot": {"chat": "x"}},
    {"data": {"rating": 1}, "meta": {"message_id": "a"}, "snapshot": {"history": {"messages": {"a": "x"}}}},
    {"data": {"rating": 1}, "meta": {"message_id": "a"}, "snapshot": {"history": {"messages": [1, {"id": "b"}]}}},
]


@pytest.mark.parametrize("odd", ODD)
def test_an_entry_of_another_make_is_refused_by_itself(odd: dict[str, Any]) -> None:
    found = convert(openwebui.read(json.dumps([odd, entry(GOOD, 1)])), "openwebui")
    assert ([one["line"] for one in found.refusals], [number for number, _ in found.bodies]) == ([1], [2])


def test_tags_that_are_no_object_are_refused() -> None:
    row = {"input": {"prompt": "a"}, "metric_name": "comment", "value": "b", "tags": 5}
    assert "tags" in convert(plain.read(json.dumps(row) + "\n"), "jsonl").refusals[0]["message"]


def test_an_empty_file_says_nothing() -> None:
    assert convert(plain.read(""), "csv").bodies == []
