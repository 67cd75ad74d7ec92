"""The client against a real daemon over HTTP, and against servers that refuse, wait and break off."""

import asyncio
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_es.client import AsyncClient, Client, Refused, TooBusy, Unreachable, connection
from tests.daemon.conftest import lines, roomy_folder  # noqa: F401
from tests.daemon.live import Live, inside, merged, small


@pytest.fixture(scope="module")
def live(roomy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:  # noqa: F811
    place = tmp_path_factory.mktemp("client")
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    suites = [lines(place / "texts.jsonl", [{"text": f"{word} and {word} again"} for word in words])]
    protected = lines(place / "protected.jsonl", [{"prompt": word, "answer": word} for word in words])
    tree = merged(small(roomy_folder, suites, protected), {"learn": {"min_events": 1000}})  # nothing is learned here
    with inside(place / "state", tree) as daemon:
        yield daemon


@pytest.fixture
def edge(live: Live) -> Iterator[Client]:
    with Client(live.url, state_dir=live.folder) as client:
        yield client


def test_a_day_with_the_plain_client(edge: Client, live: Live) -> None:
    answer = edge.chat("Say something.", max_tokens=5, temperature=0, session="tuesday")
    assert answer.version == 0 and answer.completion_tokens <= 5 and str(answer) == answer.text
    pieces = list(edge.stream([{"role": "user", "content": "Say something."}], max_tokens=5, temperature=0))
    assert "".join(piece.text for piece in pieces) == answer.text
    assert pieces[-1].finish_reason == answer.finish_reason and {piece.id for piece in pieces} != {answer.id}

    edge.pause("the test looks at what waits")
    assert edge.status().learning == "paused"
    assert edge.wait_for_learning(every=0.01).reason == "the test looks at what waits"
    sent = [
        edge.rate(answer.id, False),
        edge.rate(episode="tuesday", value=0.5, metric="rating"),
        edge.rate(asked="2+2?", answer="5", value=False),
        edge.demonstrate("zorp 1", "yes"),
        edge.demonstrate(None, "better", of=answer.id),
        edge.prefer("zorp 2", "yes", "no", tags={"source": "test"}),
        edge.task("zorp 3", {"type": "string_check", "operation": "eq", "reference": "yes"}),
    ]
    comment = edge.comment("odd", of=answer.id)
    kinds = [edge.fate(one).kind for one in sent]
    assert kinds == ["rating"] * 3 + ["demonstration"] * 2 + ["preference", "task"]
    assert edge.fate(comment).kind == "comment"
    same = edge.demonstrate("zorp 1", "yes", id=sent[3])
    assert same == sent[3] and edge.status().pending == len(sent)

    edge.resume()
    status = edge.wait_for_learning()
    assert status.version == 0 and status.learning == "idle" and status.retention["texts"].verdict == "kept"
    versions = edge.versions()
    assert versions[0].kind == "anchor" and status.version == max(row.version or 0 for row in versions)
    assert edge.fate(sent[3]).used_in == ()
    rows = edge.probe()
    assert rows[-1].suite == "texts" and rows == edge.retention(rows[-1].version, "texts")[-len(rows) :]
    with pytest.raises(Refused, match="version 0 is the one that is served") as caught:
        edge.rollback(0, "the test is over")
    assert (caught.value.status, caught.value.param) == (409, "version")


def test_the_same_awaited(live: Live) -> None:
    async def day() -> None:
        async with AsyncClient(live.url, state_dir=live.folder) as edge:
            first, second = await asyncio.gather(
                edge.chat("One.", max_tokens=3, temperature=0), edge.chat("Two.", max_tokens=3, temperature=0)
            )
            assert first.id != second.id
            pieces = [piece async for piece in edge.stream("One.", max_tokens=3, temperature=0)]
            assert "".join(piece.text for piece in pieces) == first.text
            await edge.pause()
            event = await edge.rate(first.id, True)
            assert (await edge.fate(event)).state == "pending"
            await edge.resume()
            assert (await edge.wait_for_learning(timeout=200)).learning == "idle"

    asyncio.run(day())


def test_the_daemon_s_own_words_are_raised(live: Live, edge: Client) -> None:
    with pytest.raises(Refused, match=r"no completion .* is known") as caught:
        edge.rate("0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01", True)
    assert (caught.value.status, caught.value.param) == (404, "inference_id")
    with pytest.raises(Refused, match="unsupported field 'nonsense'"):
        list(edge.stream("hi", nonsense=1))
    with pytest.raises(Refused, match="token is wrong"), Client(live.url, "wrong") as stranger:
        stranger.status()
    with pytest.raises(ValueError, match="exactly one"):
        edge.rate("0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01", True, episode="tuesday")


class Scripted(BaseHTTPRequestHandler):
    """Answers one after the other from `script`: (status, headers, body)."""

    script: list[tuple[int, dict[str, str], Any]]
    seen: list[Any]

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.seen.append(json.loads(self.rfile.read(length) or b"null"))
        status, headers, body = self.script.pop(0)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def scripted() -> Iterator[Any]:
    class Own(Scripted):
        script: list[Any] = []  # noqa: RUF012
        seen: list[Any] = []  # noqa: RUF012

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Own.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield Own
    server.shutdown()
    server.server_close()
    thread.join()


BUSY = {"error": {"message": "256 requests wait already", "type": "x", "param": None, "code": "busy"}}


def test_it_tries_again_when_the_daemon_says(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    scripted.script[:] = [
        (429, {"Retry-After": "7"}, BUSY),
        (503, {"Retry-After": "1"}, BUSY),
        (429, {}, BUSY),
        (200, {}, {"feedback_id": "f"}),
    ]
    with Client(scripted.url, "t") as edge:
        assert edge.demonstrate("a", "b") == "f"
    assert slept[:2] == [7.0, 1.0] and 0 < slept[2] <= 2.0
    assert len({body["id"] for body in scripted.seen}) == 1  # one event, however often it was sent


def test_it_gives_up_and_says_what_the_daemon_said(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    scripted.script[:] = [(429, {"Retry-After": "1"}, BUSY)] * 3
    with pytest.raises(TooBusy, match="256 requests wait already"), Client(scripted.url, "t", retries=2) as edge:
        edge.status()
    assert len(scripted.seen) == 3
    scripted.script[:] = [(503, {}, {"error": {"message": "the model cannot be loaded"}})]
    with pytest.raises(Refused, match="cannot be loaded") as caught, Client(scripted.url, "t") as edge:
        edge.status()
    assert not isinstance(caught.value, TooBusy)
    scripted.script[:] = [(502, {}, b"<html>no gateway</html>")]
    with pytest.raises(Refused, match="no gateway"), Client(scripted.url, "t") as edge:
        edge.status()


def test_an_error_in_a_stream_is_raised(scripted: Any) -> None:
    data = b'data: {"error": {"message": "an answer failed", "type": "x", "param": null, "code": "engine_failed"}}\n\n'
    scripted.script[:] = [(200, {}, {"data": [{"id": "pocket"}]}), (200, {"Content-Type": "text/event-stream"}, data)]
    with pytest.raises(Refused, match="an answer failed"), Client(scripted.url, "t") as edge:
        list(edge.stream("hi"))
    assert scripted.seen[1]["model"] == "pocket"


def test_it_waits_no_longer_than_it_is_told(scripted: Any) -> None:
    busy = {"version": 3, "model": "m", "learning": "active", "reason": None, "events": {"pending": 1}, "retention": {}}
    scripted.script[:] = [(200, {}, busy)]
    with (
        pytest.raises(TimeoutError, match="still learning after -1 s, at version 3"),
        Client(scripted.url, "t") as edge,
    ):
        edge.wait_for_learning(timeout=-1.0)


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no daemon answers at http://127\.0\.0\.1:1; `edge-es serve` starts one"):
        Client("http://127.0.0.1:1", state_dir=tmp_path).status()
    with pytest.raises(Unreachable, match="is no address"):
        Client("nonsense", state_dir=tmp_path)


def test_the_token_and_the_address_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens.json").write_text('{"chat": "c", "admin": "kept"}')
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)
    monkeypatch.setenv("EDGE_ES_STATE__DIR", str(tmp_path))
    found = connection.options(connection.URL, None, None, 1.0)
    assert found["headers"] == {"Authorization": "Bearer kept"} and not found["trust_env"]
    monkeypatch.setenv("EDGE_ES_TOKEN", "set")
    assert connection.options("https://far.example", None, None, 1.0)["headers"] == {"Authorization": "Bearer set"}
    assert connection.options("https://far.example", "given", None, 1.0)["trust_env"]
    monkeypatch.setenv("EDGE_ES_URL", "http://127.0.0.1:9/")
    assert connection.address(None) == "http://127.0.0.1:9"


def test_the_folders_token_is_told_to_its_own_daemon_and_to_loopback_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens.json").write_text('{"chat": "c", "admin": "kept"}')
    (tmp_path / "daemon.json").write_text('{"pid": 1, "url": "http://192.0.2.7:8420"}')
    monkeypatch.delenv("EDGE_ES_TOKEN", raising=False)

    def told(url: str) -> bool:
        return "Authorization" in connection.options(url, None, tmp_path, 1.0)["headers"]

    assert all(map(told, ("http://localhost:1", "http://[::1]:8420", "http://192.0.2.7:8420")))
    far = ("https://far.example", "http://127.evil.example:8420", "http://127.0.0.1@far.example", "http://192.0.2.7:1")
    assert not any(map(told, far))


@pytest.mark.parametrize("body", [b"<html>hello</html>", {"hello": 1}, [1], {"data": [{"id": "m"}]}])
def test_another_server_is_one_line(scripted: Any, body: Any) -> None:
    scripted.script[:] = [(200, {}, body)]
    with Client(scripted.url, "t") as edge, pytest.raises(Unreachable, match="another server") as caught:
        edge.status()
    assert "\n" not in str(caught.value)
    line = b'data: {"object": "chat.completion.chunk"}\n\ndata: no json\n\n'
    scripted.script[:] = [(200, {"Content-Type": "text/event-stream"}, line)]
    with Client(scripted.url, "t") as edge, pytest.raises(Unreachable, match="another server"):
        list(edge.stream("hi", model="m"))


def test_methods_show_what_they_take_and_say_what_they_do() -> None:
    for kind in (Client, AsyncClient):
        assert list(inspect.signature(kind.rate).parameters)[:3] == ["self", "of", "value"]
        assert inspect.signature(kind.rollback).return_annotation is int
        for name, one in inspect.getmembers(kind, inspect.isfunction):
            assert name.startswith("_") or (inspect.getdoc(one) and one.__name__ == name), name
    assert next(iter(inspect.signature(Client("http://127.0.0.1:9", "t").rate).parameters)) == "of"


def test_both_clients_have_the_same_methods() -> None:
    def told(kind: type) -> dict[str, list[str]]:
        public = {name: one for name, one in vars(kind).items() if callable(one) and not name.startswith("_")}
        return {name: list(inspect.signature(one).parameters) for name, one in public.items()}

    assert told(Client) == told(AsyncClient)


def test_it_imports_no_torch() -> None:
    code = "import sys, edge_es.client; assert not {'torch', 'transformers', 'fastapi', 'service'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
