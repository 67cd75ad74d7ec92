"""OpenAI's own Python client against the daemon, and the answers' bytes where the client hides them."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from echo_daemon import CONTEXT, Daemon, refused, served, use

from service.store import DiskFull


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all refusals."""
    with served(tmp_path_factory.mktemp("refusing")) as made:
        yield made


@pytest.fixture
def client(daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "pocket", "messages": [{"role": "user", "content": text}], **fields}


def test_a_chat_is_answered_under_a_time_ordered_id_with_its_version(daemon: Daemon, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**chat("hello"))
    assert answer.choices[0].message.content == "hello"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.model == "pocket"
    assert answer.system_fingerprint == "edge-es-v0"
    assert uuid.UUID(answer.id).version == 7 and answer.id == str(uuid.UUID(answer.id))
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 6, 11)
    use(daemon.store, [])
    raw = daemon.stranger.post("/v1/chat/completions", json=chat("hello"))
    assert raw.headers["x-edge-es-version"] == "1" and raw.json()["system_fingerprint"] == "edge-es-v1"


def test_a_chat_may_have_parts_and_a_developer(daemon: Daemon, client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "good "}, {"type": "text", "text": "day"}]
    messages: Any = [{"role": "developer", "content": "Echo."}, {"role": "user", "content": parts}]
    answer = client.chat.completions.create(model="pocket", messages=messages)
    assert answer.choices[0].message.content == "good day"
    stored = daemon.store.completion(answer.id)
    assert stored is not None and [m.role for m in stored.prompt.messages] == ["system", "user"]


def test_a_streamed_chat_says_the_same_in_pieces(daemon: Daemon, client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**chat("héllo"), stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    ended = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ended[-1] == "stop" and set(ended[:-1]) == {None}
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.system_fingerprint for chunk in chunks} == {"edge-es-v0"}
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 7
    stored = daemon.store.completion(chunks[0].id)
    assert stored is not None and stored.answers[0].finish_reason == "stop"


def test_a_stream_carries_its_version_in_the_headers_and_ends_with_done(daemon: Daemon) -> None:
    use(daemon.store, [])
    with daemon.stranger.stream("POST", "/v1/chat/completions", json=chat("hi", stream=True)) as response:
        assert response.headers["x-edge-es-version"] == "1"
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    texts = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(texts) == "hi"


def test_several_choices_stream_side_by_side(client: openai.OpenAI) -> None:
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(**chat("abc", n=3), stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["abc"] * 3


def test_a_completion_continues_text_and_obeys_its_limits(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="pocket", prompt="abcdef", max_tokens=3)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("abc", "length")
    answer = client.completions.create(model="pocket", prompt="abcdef", stop="d")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("abc", "stop")
    answer = client.completions.create(model="pocket", prompt="abcdef", n=2, stop=["x", "f"])
    assert [choice.text for choice in answer.choices] == ["abcde", "abcde"]
    streamed = client.completions.create(model="pocket", prompt="abc", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "abc"


def test_log_probabilities_leave_the_end_of_the_turn_out(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**chat("ab", logprobs=True, top_logprobs=2))
    found = answer.choices[0].logprobs
    assert found is not None and found.content is not None
    assert [entry.token for entry in found.content] == ["a", "b"]
    assert [(top.token, top.logprob) for top in found.content[0].top_logprobs] == [("a", -0.5), ("b", -1.5)]
    assert found.content[0].bytes == [97]
    text = client.completions.create(model="pocket", prompt="ab", logprobs=1).choices[0].logprobs
    assert text is not None
    assert (text.tokens, text.text_offset, text.top_logprobs) == (["a", "b"], [0, 1], [{"a": -0.5}, {"b": -0.5}])
    assert client.chat.completions.create(**chat("ab")).choices[0].logprobs is None
    streamed = client.chat.completions.create(**chat("ab", logprobs=True), stream=True)
    entries = [c.choices[0].logprobs.content for c in streamed if c.choices[0].logprobs]
    assert [entry.token for content in entries for entry in content or []] == ["a", "b"]


def test_sampling_reaches_the_engine_and_choices_have_seeds_of_their_own(
    daemon: Daemon, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    submit = daemon.engine.submit
    monkeypatch.setattr(daemon.engine, "submit", lambda g: (seen.append(g.samplings), submit(g)))
    client.chat.completions.create(**chat("a", temperature=0, top_p=0.5, seed=-1, n=2, max_completion_tokens=7))
    client.chat.completions.create(**chat("a"))
    client.chat.completions.create(**chat("a", max_tokens=100_000))
    first, second = seen[0]
    assert (first.temperature, first.top_p, first.max_tokens, first.top) == (0, 0.5, 7, -1)
    assert first.seed == 2**64 - 1 and second.seed == 0
    assert (seen[1][0].temperature, seen[1][0].max_tokens) == (1.0, 256)
    assert seen[2][0].max_tokens == CONTEXT - 1
    assert seen[1][0].seed != seen[2][0].seed


def test_a_session_header_makes_an_episode(daemon: Daemon, client: openai.OpenAI) -> None:
    ids = [
        client.chat.completions.create(**chat(text), extra_headers={"X-Session-Id": "s1"}).id for text in ("one", "two")
    ]
    client.chat.completions.create(**chat("three"))
    assert [completion.id for completion in daemon.store.episode("s1")] == ids
    response = daemon.stranger.post("/v1/chat/completions", json=chat("a"), headers={"X-Session-Id": "s" * 129})
    refused(response, 400, "X-Session-Id")


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pocket"]
    assert client.models.retrieve("pocket").owned_by == "edge-es"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("meta-llama/Llama-3")
    assert caught.value.code == "model_not_found"


def test_a_local_folder_goes_by_its_name_or_its_path(serving: Any) -> None:
    daemon = serving(model={"ref": "/models/stories260K-hf"})
    assert [model["id"] for model in daemon.stranger.get("/v1/models").json()["data"]] == ["stories260K-hf"]
    for name in ("stories260K-hf", "/models/stories260K-hf"):
        body = {"model": name, "prompt": "a"}
        assert daemon.stranger.post("/v1/completions", json=body).status_code == 200


def test_the_clients_errors_are_openais(daemon: Daemon, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(**chat("x" * CONTEXT))
    assert too_long.value.param == "messages" and str(CONTEXT) in too_long.value.message
    with pytest.raises(openai.UnprocessableEntityError) as unsupported:
        client.chat.completions.create(**chat("hi"), presence_penalty=0.5)
    assert unsupported.value.param == "presence_penalty"
    daemon.engine.busy = True
    with pytest.raises(openai.RateLimitError) as busy:
        client.chat.completions.create(**chat("hi"))
    assert busy.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop[0]"),
        ({"top_logprobs": 3}, ""),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, ""),
        ({"tools": []}, "tools"),
        ({"logit_bias": {}}, "logit_bias"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_is_named(refusing: Daemon, change: dict[str, Any], param: str) -> None:
    error = refused(refusing.stranger.post("/v1/chat/completions", json=chat("hi") | change), 422)
    assert error["param"] == (param or None)
    assert (param or next(iter(change))) in error["message"]


def test_more_choices_than_rows_are_refused(daemon: Daemon) -> None:
    refused(daemon.stranger.post("/v1/chat/completions", json=chat("hi", n=33)), 400, "n")


def test_while_the_model_loads_and_where_it_failed_requests_are_told(daemon: Daemon) -> None:
    daemon.engine.ready = False
    refused(daemon.stranger.post("/v1/chat/completions", json=chat("hi")), 503, code="model_loading")
    refused(daemon.stranger.get("/readyz"), 503, code="model_loading")
    assert daemon.stranger.get("/healthz").json() == {"status": "ok"}
    daemon.engine.failure = "model 'x' cannot be loaded"
    refused(daemon.stranger.get("/readyz"), 503, code="model_failed")
    daemon.engine.failure, daemon.engine.ready = None, True
    assert daemon.stranger.get("/readyz").json() == {"status": "ready"}


def test_an_engine_that_breaks_answers_500_and_tells_streams(daemon: Daemon, client: openai.OpenAI) -> None:
    daemon.engine.breaks = "out of memory"
    with pytest.raises(openai.InternalServerError, match="out of memory"):
        client.chat.completions.create(**chat("hi"))
    daemon.engine.breaks, daemon.engine.token_seconds = None, 0.05
    with pytest.raises(openai.APIError, match="out of memory"):  # noqa: PT012
        for _ in client.chat.completions.create(**chat("hello"), stream=True):
            daemon.engine.breaks = "out of memory"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_generation(daemon: Daemon, stream: bool) -> None:
    daemon.engine.token_seconds = 0.05
    body = chat("x" * 250, stream=stream)
    if stream:
        with httpx.stream("POST", f"{daemon.url}/v1/chat/completions", json=body, trust_env=False) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{daemon.url}/v1/chat/completions", json=body, timeout=0.3, trust_env=False)
    # The engine takes the next request only when it has let go of this one, of 251 tokens.
    answer = daemon.stranger.post("/v1/chat/completions", json=chat("next"))
    assert answer.json()["choices"][0]["message"]["content"] == "next"
    assert daemon.engine.decoded < 250


def test_a_full_disk_keeps_no_answer_back(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(daemon.store, "add_completion", full)
    answer = daemon.stranger.post("/v1/chat/completions", json=chat("hi"))
    assert answer.status_code == 200
    assert "edge_es_completions_unstored_total 1.0" in daemon.stranger.get("/metrics").text


def test_many_clients_at_once_get_their_own_answers(daemon: Daemon) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(i: int) -> str:
        response = httpx.post(f"{daemon.url}/v1/chat/completions", json=chat(f"say {i}"), trust_env=False, timeout=30)
        content: str = response.json()["choices"][0]["message"]["content"]
        return content

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(32))) == [f"say {i}" for i in range(32)]
