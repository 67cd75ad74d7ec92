"""The log says what went wrong and where, and not what people asked."""

import io
import logging
from collections.abc import Iterator

import pytest
from echo_daemon import Daemon

from service import logs

SECRET = "zanzibar-prompt-7291"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Everything that any logger says, formatted as the daemon does."""
    found, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(found), root.level
    handler.setFormatter(logs.WithoutText(logs.FORMAT))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def test_nothing_of_requests_and_answers_is_logged(daemon: Daemon, stream: io.StringIO) -> None:
    chat = {"model": "pocket", "messages": [{"role": "user", "content": SECRET}]}
    quiet = logging.getLogger("httpx"), logging.getLogger("httpcore")
    for logger in quiet:  # the client's, which names addresses
        logger.setLevel(logging.WARNING)
    for body in (chat, {**chat, "stream": True}, {**chat, "n": SECRET}, {**chat, "messages": SECRET}):
        daemon.stranger.post("/v1/chat/completions", json=body, headers={"X-Session-Id": SECRET})
    shown = {"input": {"prompt": SECRET}, "metric_name": "demonstration", "value": SECRET, "tags": {"a": SECRET}}
    for change in ({}, {"value": 1}, {"metric_name": SECRET}, {SECRET: 1}):
        daemon.client.post("/v1/feedback", json={**shown, **change})
    daemon.client.post("/v1/feedback", content=SECRET, headers={"Content-Type": "application/json"})
    daemon.client.get(f"/v1/models/{SECRET}", params={"q": SECRET})
    daemon.client.get("/v1/status", headers={"Authorization": f"Bearer {SECRET}"})
    assert SECRET not in stream.getvalue()
    assert daemon.context.tokens.admin not in stream.getvalue()


def test_a_bug_in_the_middle_of_a_prompt_is_logged_without_it(
    daemon: Daemon, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object, **__: object) -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(f"cannot tokenize {SECRET}") from error

    monkeypatch.setattr(daemon.engine.base, "tokenizer", bug)
    answer = daemon.stranger.post("/v1/completions", json={"model": "pocket", "prompt": SECRET})
    assert answer.status_code == 500 and SECRET not in answer.text
    said = stream.getvalue()
    assert "RuntimeError" in said and "KeyError" in said and "in bug" in said
    assert SECRET not in said


def test_the_whole_error_is_logged_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(logging, "basicConfig", given.update)
    for wanted in (True, False):
        logs.start(log_text=wanted)
        (handler,) = given["handlers"]  # type: ignore[misc]
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            record = logging.LogRecord(
                "x", logging.ERROR, "x", 1, "failed", (), (ValueError, error, error.__traceback__)
            )
        assert (SECRET in handler.format(record)) is wanted
