"""What a page in the browser, another user or a hostile client may try: refused by name, and others are served on."""

import gzip
import json
import re
import threading
import zlib
from collections.abc import Iterator

import pytest
from echo_daemon import Daemon, refused, served
from wire import alive, error, port, raw, status

from edge_es import graders
from service.app import ADMIN, CHAT, OPEN
from service.bodies import MAX_LINES
from service.security import MAX_HEADERS, MAX_TARGET
from service.wire import HEAD_BYTES

EVIL = "evil.example"
ASK = {"model": "pocket", "prompt": "a"}
SHOWN = {"input": {"prompt": "a"}, "metric_name": "demonstration", "value": "b"}
JSON = {"Content-Type": "application/json"}
ROUTES = sorted(
    (
        method,
        re.sub(r"\{(event|inference)_id\}", "00000000-0000-0000-0000-000000000001", route.path_format).replace(
            "{name}", "pocket"
        ),
    )
    for router in (*OPEN, *CHAT, *ADMIN)
    for route in router.routes
    for method in route.methods  # type: ignore[attr-defined]
)
POSTS = [path for method, path in ROUTES if method == "POST"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all: no attack is to change it."""
    with served(tmp_path_factory.mktemp("state")) as made:
        made.context.stopping.set()  # endless streams end at once
        yield made


@pytest.fixture(autouse=True)
def _unharmed(daemon: Daemon) -> Iterator[None]:
    yield
    alive(daemon)
    assert daemon.store.list_events() == [] and len(daemon.store.rows()) == 1
    assert daemon.engine.learning == "idle"


# from a page in the browser


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_page_reaches_nothing_by_a_rebound_name_or_from_its_own_origin(
    daemon: Daemon, method: str, path: str
) -> None:
    here = f"127.0.0.1:{port(daemon)}"
    token = f"Authorization: Bearer {daemon.context.tokens.admin}\nContent-Type: application/json\nConnection: close"
    rebound = raw(daemon, f"{method} {path} HTTP/1.1\nHost: {EVIL}:{port(daemon)}\n{token}\n\n")
    assert error(rebound, 403)["code"] == "host_not_allowed"
    for origin in (f"http://{EVIL}", f"http://{EVIL}:{port(daemon)}", "null", f"http://{here}.{EVIL}"):
        foreign = raw(daemon, f"{method} {path} HTTP/1.1\nHost: {here}\nOrigin: {origin}\n{token}\n\n")
        assert error(foreign, 403)["code"] == "origin_not_allowed"
        assert b"access-control" not in foreign.lower()


@pytest.mark.parametrize("path", POSTS)
def test_forms_change_nothing(daemon: Daemon, path: str) -> None:
    fields = json.dumps(SHOWN)
    for kind, body in (
        ("application/x-www-form-urlencoded", "metric_name=thumbs&value=true"),
        ("text/plain", fields),
        (
            "multipart/form-data; boundary=x",
            f'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{fields}\r\n--x--\r\n',
        ),
        ("application/json-patch+json", fields),
    ):
        answer = daemon.client.post(path, content=body, headers={"Content-Type": kind})
        if path.endswith("/retry"):
            refused(answer, 404)  # it reads no body, and there is nothing to retry
        else:
            refused(answer, 415, "Content-Type")
        refused(
            daemon.stranger.post(path, content=body, headers={"Content-Type": kind}),
            415 if "completions" in path else 401,
        )


# names that would be paths

TRICKS = [
    "../tokens.json",
    "..%2ftokens.json",
    "%2e%2e/%2e%2e/tokens.json",
    "..%5ctokens.json",
    "....//tokens.json",
    "%00",
    "tokens.json%00.json",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "'; DROP TABLE events; --".replace(" ", "%20"),
    "%ff%fe",
    "x" * 4000,
]


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("path", ["/v1/feedback/", "/v1/models/", "/", "/v1/", "//"])
def test_names_are_no_paths(daemon: Daemon, path: str, trick: str) -> None:
    token = f"Host: localhost\nAuthorization: Bearer {daemon.context.tokens.admin}\nConnection: close"
    answer = raw(daemon, f"GET {path}{trick} HTTP/1.1\n{token}\n\n")
    assert error(answer, 404)
    assert daemon.context.tokens.chat.encode() not in answer and b"root:" not in answer


def test_fields_are_no_paths_either(daemon: Daemon) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "..", "\u0000", "pocket/../pocket"):
        refused(daemon.client.post("/v1/completions", json={**ASK, "model": name}), 404, "model")
        refused(daemon.client.post("/v1/feedback", json={**SHOWN, "metric_name": name}), 400, "metric_name")
        refused(daemon.client.post("/v1/feedback", json={**SHOWN, "id": name}), 422, "id")
        assert daemon.client.get("/v1/retention", params={"suite": name}).json() == {"retention": []}
    schema = {"$ref": "file:///etc/passwd"}
    task = {"input": {"prompt": "a"}, "grader": {"type": "json_schema", "schema": schema}}
    refused(daemon.client.post("/v1/tasks", json=task), 400, "grader.schema")


def test_no_grader_runs_code(daemon: Daemon) -> None:
    for grader in (
        {"type": "python", "source": "import os"},
        {"type": "string_check", "operation": "eq", "reference": "{{sample.__class__}}"},
        {"type": "countdown", "numbers": [1], "target": "__import__('os').system('true')"},
        {"type": "score_model", "model": "x", "input": []},
    ):
        refused(daemon.client.post("/v1/tasks", json={"input": {"prompt": "a"}, "grader": grader}), 400)


# bombs


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "identity, gzip"])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/feedback", "/v1/feedback/batch"])
def test_compressed_bodies_are_refused_unread(daemon: Daemon, path: str, encoding: str) -> None:
    bomb = gzip.compress(b" " * 2**22) if "gzip" in encoding else zlib.compress(b" " * 2**22)
    headers = {**JSON, "Content-Encoding": encoding}
    refused(daemon.client.post(path, content=bomb, headers=headers), 415, "Content-Encoding")
    smuggled = raw(
        daemon,
        f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: application/json\nTransfer-Encoding: gzip, chunked\n\n",
    )
    assert error(smuggled, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"{" + b",".join(b'"%d":0' % i for i in range(200_000)) + b',"199999":1}',  # the last key of many, twice
        b'{"value": ' + b"9" * 1_000_000 + b"}",
        b'{"value": 1e' + b"9" * 100_000 + b"}",
        b'{"value": "' + b"\\u0000" * 100_000,
    ],
    ids=["lists", "objects", "keys", "digits", "exponent", "escapes"],
)
def test_json_bombs(daemon: Daemon, body: bytes) -> None:
    for path in ("/v1/completions", "/v1/feedback"):
        refused(daemon.client.post(path, content=body, headers=JSON), 400)


def test_a_batch_of_countless_lines(daemon: Daemon) -> None:
    headers = {"Content-Type": "application/jsonl"}
    answer = daemon.client.post("/v1/feedback/batch", content=b"{}\n" * (MAX_LINES + 1), headers=headers)
    refused(answer, 413, code="too_long")


@pytest.mark.parametrize(
    "pattern", ["((a{1,100}){1,100}){1,100}", "(?:" * 200 + ")" * 200 + "{9", "a" * 501, "(?R)", "[[a]"]
)
def test_patterns_that_would_burst_when_compiled(daemon: Daemon, pattern: str) -> None:
    task = {"input": {"prompt": "a"}, "grader": {"type": "regex", "pattern": pattern}}
    answer = daemon.client.post("/v1/tasks", json={**task, "dryrun": True})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        refused(answer, 400, "grader.pattern")


def test_others_are_served_while_a_pattern_explodes(daemon: Daemon) -> None:
    bomb = {"type": "regex", "pattern": "(a|a?)+$", "search": True}
    graders.validate(bomb)
    scores: list[float] = []
    grading = threading.Thread(target=lambda: scores.extend(graders.grade(bomb, "a" * 5000 + "!") for _ in range(8)))
    grading.start()
    answered = 0
    while grading.is_alive():
        assert daemon.stranger.get("/healthz").status_code == 200
        answered += 1
    assert scores == [0.0] * 8
    assert answered > 20, "the matcher kept all other threads waiting"


# floods


def test_too_many_and_too_long_headers(daemon: Daemon) -> None:
    start = "GET /healthz HTTP/1.1\nHost: localhost\n"
    start += "Connection: close\n"
    assert status(raw(daemon, f"{start}X-A: {'b' * 4000}\n\n")) == 200
    many = "".join(f"X-{i}: b\n" for i in range(MAX_HEADERS))
    assert error(raw(daemon, f"{start}{many}\n"), 431)["code"] == "headers_too_long"
    assert error(raw(daemon, f"{start}X-A: {'b' * HEAD_BYTES}\n\n"), 431)
    endless = raw(daemon, start + "X-A: ", *[b"b" * 16_384] * 8)
    assert error(endless, 431)["code"] == "headers_too_long"
    assert error(raw(daemon, f"GET /{'a' * MAX_TARGET} HTTP/1.1\nHost: localhost\nConnection: close\n\n"), 414)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX\x00Y: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/x.y\r\nHost: localhost\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\x00\r\n\r\n",
    ],
)
def test_what_is_no_http(daemon: Daemon, request_: bytes) -> None:
    assert error(raw(daemon, request_), 400)["code"] == "invalid_http"


def test_a_body_that_breaks_off_its_framing(daemon: Daemon) -> None:
    head = (
        "POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n"
    )
    assert raw(daemon, head, b"5\r\nabcde\r\nnonsense\r\n").startswith(b"HTTP/1.1 4")


def test_invented_methods_leave_no_trace(daemon: Daemon) -> None:
    for number in range(50):
        refused(daemon.client.request(f"FLOOD{number}", "/healthz"), 405)
    assert "FLOOD" not in daemon.stranger.get("/metrics").text


def test_a_websocket_is_not_spoken(daemon: Daemon) -> None:
    headers = "Host: localhost\nUpgrade: websocket\nConnection: Upgrade, close\nSec-WebSocket-Key: x"
    assert error(raw(daemon, f"GET /v1/status HTTP/1.1\n{headers}\n\n"), 401)


# guessing


def test_a_token_is_not_guessed_by_its_beginning(daemon: Daemon) -> None:
    held = daemon.context.tokens.admin
    for guess in (held[:-1], held + "A", held.swapcase(), f"{held}, {held}"):
        answer = daemon.stranger.get("/v1/status", headers={"Authorization": f"Bearer {guess}".encode("latin-1")})
        assert answer.status_code in (400, 401)
    for query in (f"?token={held}", f"?access_token={held}", f"?authorization=Bearer%20{held}"):
        refused(daemon.stranger.get(f"/v1/status{query}"), 401)
    refused(daemon.stranger.get("/v1/status", cookies={"Authorization": f"Bearer {held}"}), 401)


def test_the_chat_token_opens_no_administration(daemon: Daemon) -> None:
    headers = {"Authorization": f"Bearer {daemon.context.tokens.chat}", **JSON}
    daemon.context.stopping.set()  # endless streams end at once
    for method, path in ROUTES:
        answer = daemon.stranger.request(method, path, headers=headers, content=b"{}")
        admin = not any(path == route.path_format for router in (*OPEN, *CHAT) for route in router.routes)  # type: ignore[attr-defined]
        if admin and not path.startswith("/v1/models"):
            refused(answer, 403, "Authorization")


def test_nothing_is_unpickled_or_evaluated() -> None:
    """Not by this package: what is stored is JSON, SQLite and safetensors. What the daemon and its own child say to
    each other over a pair of sockets is neither stored nor anybody else's: that one file may."""
    from pathlib import Path

    import service

    root = Path(service.__file__).parents[1]
    for path in (*(root / "service").rglob("*.py"), *(root / "edge_es").rglob("*.py")):
        source = path.read_text()
        if path == root / "edge_es" / "cluster" / "link.py":
            source = source.replace("pickle", "")
        for word in ("pickle", "marshal", "shelve", "torch.load(", "yaml.load", "os.system(", "trust_remote_code=True"):
            assert word not in source, (path, word)
        code = source.replace(".eval()", "").replace("re.compile(", "").replace("regex.compile(", "")
        assert not any(f"{sep}{word}(" in code for word in ("eval", "exec", "compile") for sep in (" ", "(", "=")), path
