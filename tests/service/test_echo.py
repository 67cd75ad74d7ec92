"""Text completions as lm-evaluation-harness asks for them: token ids, several prompts, echo with log-probabilities."""

from typing import Any

import pytest
from echo_daemon import CONTEXT, Daemon, refused


def ask(daemon: Daemon, **fields: Any) -> dict[str, Any]:
    response = daemon.stranger.post("/v1/completions", json={"model": "pocket", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ids(text: str) -> list[int]:
    return [byte + 1 for byte in text.encode()]


def test_an_echo_has_the_prompt_in_text_and_in_log_probabilities(daemon: Daemon) -> None:
    answer = ask(daemon, prompt="abc", max_tokens=1, temperature=0, logprobs=1, seed=1234, echo=True)
    (choice,) = answer["choices"]
    assert choice["text"] == "abca" and choice["finish_reason"] == "length"
    told = choice["logprobs"]
    assert told["tokens"] == ["a", "b", "c", "a"] and told["text_offset"] == [0, 1, 2, 3]
    assert told["token_logprobs"] == [None, -0.25, -0.25, -0.5]
    assert told["top_logprobs"] == [None, {"b": -0.25}, {"c": -0.25}, {"a": -0.5}]
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def test_the_token_that_ends_the_answer_stands_in_an_echo(daemon: Daemon) -> None:
    """Or a client that cuts the last one off would cut off the prompt's."""
    told = ask(daemon, prompt="ab\n", max_tokens=1, logprobs=0, echo=True)["choices"][0]["logprobs"]
    assert told["tokens"] == ["a", "b", "\n", ""] and len(told["token_logprobs"]) == 4


def test_nothing_is_said_where_max_tokens_is_zero(daemon: Daemon) -> None:
    (choice,) = ask(daemon, prompt="abc", max_tokens=0, logprobs=1, echo=True)["choices"]
    assert choice["text"] == "abc" and choice["logprobs"]["token_logprobs"] == [None, -0.25, -0.25]
    (choice,) = ask(daemon, prompt="abc", max_tokens=0, echo=True)["choices"]
    assert choice["text"] == "abc" and choice["logprobs"] is None


@pytest.mark.parametrize("prompts", [["abc", "de"], [ids("abc"), ids("de")]])
def test_several_prompts_are_answered_in_their_order(daemon: Daemon, prompts: list[Any]) -> None:
    answer = ask(daemon, prompt=prompts, n=2)
    assert [(c["index"], c["text"]) for c in answer["choices"]] == [(0, "abc"), (1, "abc"), (2, "de"), (3, "de")]
    assert answer["usage"]["prompt_tokens"] == 5
    echoed = ask(daemon, prompt=prompts, max_tokens=0, echo=True)
    assert [c["text"] for c in echoed["choices"]] == ["abc", "de"]


def test_one_prompt_may_be_token_ids(daemon: Daemon) -> None:
    assert ask(daemon, prompt=ids("abc"))["choices"][0]["text"] == "abc"
    assert ask(daemon, prompt=[float(i) for i in ids("abc")])["choices"][0]["text"] == "abc"  # 98.0 is an integer


def test_a_measurement_is_not_kept_for_feedback(daemon: Daemon) -> None:
    kept = [ask(daemon, prompt="abc")["id"], ask(daemon, prompt=["abc"])["id"]]
    gone = [ask(daemon, prompt=["abc", "de"])["id"], ask(daemon, prompt=ids("abc"))["id"]]
    gone.append(ask(daemon, prompt="abc", max_tokens=0, echo=True)["id"])
    assert all(daemon.store.completion(one) is not None for one in kept)
    assert all(daemon.store.completion(one) is None for one in gone)
    rated = {"inference_id": gone[0], "metric_name": "thumbs", "value": True}
    refused(daemon.client.post("/v1/feedback", json=rated), 404, "inference_id")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"prompt": []}, 422, "prompt"),
        ({"prompt": [[]]}, 422, "prompt"),
        ({"prompt": ["a", [1]]}, 422, "prompt"),
        ({"prompt": [1, True]}, 422, "prompt"),
        ({"prompt": [-1]}, 422, "prompt"),
        ({"prompt": [1.5]}, 422, "prompt"),
        ({"prompt": {"a": 1}}, 422, "prompt"),
        ({"max_tokens": 0}, 422, None),
        ({"echo": True, "stream": True}, 422, None),
        ({"echo": "yes"}, 422, "echo"),
        ({"suffix": "x"}, 422, "suffix"),
        ({"best_of": 2}, 422, "best_of"),
        ({"prompt": [257]}, 400, "prompt"),
        ({"prompt": ["a", ""]}, 400, "prompt"),
        ({"prompt": [1] * CONTEXT}, 400, "prompt"),
        ({"prompt": ["a"] * 33}, 400, "prompt"),
    ],
)
def test_what_cannot_be_is_refused_by_name(daemon: Daemon, change: dict[str, Any], status: int, param: str) -> None:
    body = {"model": "pocket", "prompt": "a", **change}
    refused(daemon.stranger.post("/v1/completions", json=body), status, param)


def test_a_prompt_may_fill_the_context_where_nothing_is_said(daemon: Daemon) -> None:
    assert ask(daemon, prompt=[1] * CONTEXT, max_tokens=0, echo=True)["usage"]["prompt_tokens"] == CONTEXT
