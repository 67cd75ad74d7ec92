"""Clients that leave half-way or send too much: each costs itself alone, and nothing stays behind."""

import asyncio
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from echo_daemon import Daemon, served
from typer.testing import CliRunner
from wire import alive, connected

from service.api.events import _stream
from service.cli.main import app
from service.news import News
from service.security import MAX_BODY


def test_a_line_that_is_too_long_is_refused_and_the_others_are_sent(tmp_path: Path) -> None:
    body = {"input": {"prompt": "2+2="}, "metric_name": "demonstration", "value": "4"}
    lines = [body, {**body, "value": "x" * MAX_BODY}, {**body, "value": "5"}]
    file = tmp_path / "f.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with served(tmp_path / "state") as daemon:
        where = ["--url", daemon.url, "--state-dir", str(tmp_path / "state")]
        done = CliRunner().invoke(app, ["feedback", "send", str(file), *where, "--json"])
        assert done.exit_code == 1, done.output
        found = json.loads(done.stdout)
        assert (found["accepted"], [one["line"] for one in found["rejected"]]) == (2, [2])
        assert sum(daemon.store.count_events().values()) == 2


def test_a_client_that_leaves_within_its_body_leaves_no_trace_in_the_log(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {daemon.context.tokens.admin}\r\n"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with connected(daemon) as wire:
                wire.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
                time.sleep(0.2)  # until the body is waited for
        alive(daemon)
        deadline = time.monotonic() + 30
        while "499" not in daemon.stranger.get("/metrics").text and time.monotonic() < deadline:
            time.sleep(0.05)
    assert 'status="499"} 3.0' in daemon.stranger.get("/metrics").text
    assert [record.getMessage() for record in caplog.records] == []


def test_a_reader_of_events_that_leaves_waits_for_nothing_any_more() -> None:
    async def leave() -> int:
        news = News(dict)
        context = cast(Any, SimpleNamespace(news=news, stopping=asyncio.Event()))
        stream = _stream(context, news.read(None, True))
        before = len(asyncio.all_tasks())
        await anext(stream)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait({reading})
        await asyncio.sleep(0.01)
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(leave()) == 0
