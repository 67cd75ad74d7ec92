"""The API's description of itself, held to what the API does."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema
from echo_daemon import Daemon, served

from service.app import ADMIN, CHAT, OPEN
from service.openapi import EVERYWHERE

Document = dict[str, Any]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with served(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture(scope="module")
def document(daemon: Daemon) -> Document:
    answer = daemon.stranger.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: Document = answer.json()
    return found


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def conforms(document: Document, schema: str, value: Any) -> None:
    resource = referencing.jsonschema.DRAFT202012.create_resource(document)
    registry: Any = referencing.Registry().with_resource("urn:document", resource)
    reference = {"$ref": f"urn:document#/components/schemas/{schema}"}
    jsonschema.Draft202012Validator(reference, registry=registry).validate(value)


def test_every_route_stands_in_it_with_its_refusals_and_the_token_it_asks_for(document: Document) -> None:
    known = {(method, path) for method, path, _ in operations(document)}
    asked: list[Any] = [(OPEN, []), (CHAT, []), (ADMIN, [{"admin": []}])]
    for table, security in asked:
        for router in table:
            for route in router.routes:
                (method,) = route.methods  # type: ignore[attr-defined]
                place = (method, route.path_format)  # type: ignore[attr-defined]
                operation = document["paths"][place[1]][method.lower()]
                assert operation["security"] == security, place
                assert operation["responses"].keys() >= {str(status) for status in EVERYWHERE}
                assert ("401" in operation["responses"]) == bool(security)
                assert ("requestBody" in operation) == (method == "POST" and "retry" not in place[1])
                known.remove(place)
    assert known == set()


def test_where_others_can_reach_the_daemon_answers_ask_for_a_token(tmp_path: Any) -> None:
    with served(tmp_path, serve={"host": "0.0.0.0"}) as made:
        found = made.client.get("/openapi.json").json()
    for path, security in (
        ("/v1/models", [{"chat": []}, {"admin": []}]),
        ("/healthz", []),
        ("/v1/status", [{"admin": []}]),
    ):
        assert found["paths"][path]["get"]["security"] == security


def test_every_reference_leads_somewhere(document: Document) -> None:
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= document["components"]["schemas"].keys()
    assert "HTTPValidationError" not in text
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    linked = [
        link["operationId"]
        for _, _, operation in operations(document)
        for link in operation["responses"]["200"].get("links", {}).values()
    ]
    assert linked and set(linked) <= set(ids)


def test_the_examples_are_accepted(daemon: Daemon, document: Document) -> None:
    sent = 0
    for method, path, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            examples = [one["value"] for one in content.get("examples", {}).values()] + [content.get("example")]
            for example in (one for one in examples if one is not None):
                body = example if isinstance(example, str) else json.dumps(example)
                answer = daemon.client.request(method, path, content=body, headers={"Content-Type": media_type})
                unknown = "inference_id" in body  # no answer has the id of the example
                assert answer.status_code == (404 if unknown else 200), answer.text
                assert "error" not in answer.text or unknown
                sent += 1
    assert sent >= 10


@pytest.mark.parametrize("logprobs", [True, False])
def test_streamed_chunks_have_the_stated_shape(daemon: Daemon, document: Document, logprobs: bool) -> None:
    chat = {
        "messages": [{"role": "user", "content": "hello"}],
        **({"logprobs": True, "top_logprobs": 2} if logprobs else {}),
    }
    text = {"prompt": "hello", **({"logprobs": 2} if logprobs else {})}
    for path, asked, schema in (("chat/completions", chat, "ChatCompletionChunk"), ("completions", text, "Completion")):
        body = {"model": "pocket", "stream": True, "stream_options": {"include_usage": True}, **asked}
        lines = daemon.stranger.post(f"/v1/{path}", json=body).text.split("\n\n")
        data = [line.removeprefix("data: ") for line in lines if line]
        assert data[-1] == "[DONE]" and len(data) > 5
        for one in data[:-1]:
            conforms(document, schema, json.loads(one))


def test_configured_metrics_stand_in_it(tmp_path: Any) -> None:
    with served(tmp_path, metrics={"stars": {"type": "float", "low": 1, "high": 5}}) as made:
        found = made.stranger.get("/openapi.json").json()
    conforms(found, "Feedback", {"episode_id": "s", "metric_name": "stars", "value": 4.5})
    with pytest.raises(jsonschema.ValidationError):
        conforms(found, "Feedback", {"episode_id": "s", "metric_name": "stars", "value": 5.5})
    with pytest.raises(jsonschema.ValidationError):
        conforms(found, "Feedback", {"episode_id": "s", "metric_name": "moons", "value": 1})
