"""Who may speak to the daemon. Foreign pages, rebound names and wrong tokens get nothing."""

import importlib
import json
import pkgutil
import re
import socket
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from echo_daemon import Daemon, refused, served
from fastapi.routing import APIRoute, APIRouter
from hypothesis import given
from hypothesis import strategies as st

from edge_es.config import ServeSection
from edge_es.errors import StateError
from edge_es.loopback import is_loopback
from service import api, security, tokens
from service.app import ADMIN, CHAT, OPEN
from service.security import allowed_hosts, parse_host

ASK = {"model": "pocket", "prompt": "a"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all: nothing here is to change it."""
    with served(tmp_path_factory.mktemp("state")) as made:
        yield made


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that believes others can reach it."""
    with served(tmp_path_factory.mktemp("state"), serve={"host": "0.0.0.0"}) as made:
        yield made


def port(daemon: Daemon) -> int:
    found = httpx.URL(daemon.url).port
    assert found is not None
    return found


def raw(daemon: Daemon, request: str) -> bytes:
    """Bytes as a browser or an attacker would send them."""
    with socket.create_connection(("127.0.0.1", port(daemon)), timeout=10) as wire:
        wire.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while chunk := wire.recv(65536):
            answer += chunk
    return answer


# Host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]"])
def test_hosts_of_this_machine_are_served(daemon: Daemon, host: str) -> None:
    for name in (host, f"{host}:{port(daemon)}"):
        assert daemon.stranger.get("/v1/models", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8420",
        "localhost.",
        "127.0.0.1@evil.example",
        "[::1].evil.example",
        "[::2]",
        "[evil]",
        "0.0.0.0",
        "2130706433",
        "localhost:99999999",
        "localhost:",
        "",
    ],
)
def test_a_rebound_name_is_refused(daemon: Daemon, host: str) -> None:
    for path in ("/healthz", "/v1/models", "/v1/status", "/nowhere"):
        refused(daemon.client.get(path, headers={"Host": host}), 403, "Host", "host_not_allowed")


def test_two_hosts_or_none_are_refused(daemon: Daemon) -> None:
    two = raw(daemon, "GET /v1/models HTTP/1.1\nHost: localhost\nHost: evil.example\nConnection: close\n\n")
    none = raw(daemon, "GET /v1/models HTTP/1.0\n\n")
    for answer in (two, none):
        assert answer.split(b" ")[1] in (b"400", b"403")
        assert b"owned_by" not in answer


def test_configured_hosts_are_allowed(serving: Any) -> None:
    daemon = serving(serve={"allowed_hosts": ["box.lan", "[fe80::1]"]})
    for host in ("box.lan", "BOX.lan:8420", "[fe80::1]:8420"):
        assert daemon.client.get("/v1/models", headers={"Host": host}).status_code == 200
    refused(daemon.client.get("/v1/models", headers={"Host": "box.lan.evil.example"}), 403)


def test_behind_a_reverse_proxy_answers_need_a_token(serving: Any) -> None:
    """Its own connection comes from loopback, whoever asks: a configured name says that there is one."""
    daemon = serving(serve={"allowed_hosts": ["box.lan"]})
    for host in ("box.lan", "127.0.0.1"):
        named = {"Host": host}
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            refused(daemon.stranger.get(path, headers=named), 401, "Authorization")
            chat = {**named, "Authorization": f"Bearer {daemon.context.tokens.chat}"}
            assert daemon.stranger.get(path, headers=chat).status_code == 200
        refused(daemon.stranger.post("/v1/completions", json=ASK, headers=named), 401, "Authorization")
        assert daemon.stranger.get("/healthz", headers=named).status_code == 200
    document = daemon.client.get("/openapi.json").json()
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"chat": []}, {"admin": []}]


def test_what_the_api_says_of_itself_is_not_for_strangers(reachable: Daemon) -> None:
    refused(reachable.stranger.get("/openapi.json"), 401, "Authorization")  # it names the model's folder
    assert reachable.client.get("/openapi.json").status_code == 200


@given(st.text())
def test_parsing_any_host_never_fails(text: str) -> None:
    found = parse_host(text)
    assert found is None or (found[0] == found[0].lower() and found[0])


# Origin


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost",
        "http://localhost:1",
        "file://",
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port}/",
        "",
    ],
)
def test_pages_of_other_origins_are_refused_even_with_the_token(daemon: Daemon, origin: str) -> None:
    headers = {"Origin": origin.format(port=port(daemon))}
    for answer in (
        daemon.client.get("/v1/models", headers=headers),
        daemon.client.post("/v1/learning/pause", headers=headers),
        daemon.client.post("/v1/completions", json=ASK, headers=headers),
        daemon.client.options("/v1/feedback", headers={**headers, "Access-Control-Request-Method": "POST"}),
    ):
        refused(answer, 403, "Origin", "origin_not_allowed")
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert daemon.engine.learning == "idle"


def test_the_daemons_own_pages_are_served_without_cors(daemon: Daemon) -> None:
    answer = daemon.stranger.get("/v1/models", headers={"Origin": daemon.url})
    assert answer.status_code == 200
    assert not any(name.startswith("access-control") for name in answer.headers)


# bodies


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", None]
)
@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/tasks", "/v1/rollback", "/v1/completions", "/v1/learning/pause"])
def test_bodies_that_a_plain_form_could_send_are_refused(daemon: Daemon, kind: str | None, path: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = daemon.client.post(path, content=json.dumps(ASK).encode(), headers=headers)
    refused(answer, 415, "Content-Type", "unsupported_media_type")


def test_a_charset_is_no_other_content_type(daemon: Daemon) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert daemon.stranger.post("/v1/completions", content=json.dumps(ASK), headers=headers).status_code == 200


def test_long_bodies_are_refused_announced_or_not(daemon: Daemon) -> None:
    body = b'{"prompt": "' + b"x" * security.MAX_BODY + b'"}'
    headers = {"Content-Type": "application/json"}
    refused(daemon.stranger.post("/v1/completions", content=body, headers=headers), 413, code="too_long")
    parts = (body[i : i + 65536] for i in range(0, len(body), 65536))
    refused(daemon.stranger.post("/v1/completions", content=parts, headers=headers), 413, code="too_long")


# tokens


NAMED = {
    "event_id": str(uuid.UUID(int=1)),
    "inference_id": str(uuid.UUID(int=1)),
    "version": "0",
    "name": "pocket",
    "asset": "style.css",
}


def routes(routers: tuple[Any, ...]) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"\{(\w+)[^}]*\}", lambda found: NAMED[found[1]], route.path))
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    ]


@pytest.mark.parametrize(("method", "path"), routes(ADMIN))
def test_administration_and_feedback_need_the_admin_token_on_loopback_too(
    daemon: Daemon, method: str, path: str
) -> None:
    def ask(authorization: str | None) -> httpx.Response:
        headers = {"Authorization": authorization} if authorization is not None else {}
        return daemon.stranger.request(method, path, headers=headers, content=b"not even read")

    held = daemon.context.tokens
    for wrong in (None, "Bearer", "Bearer x", f"Basic {held.admin}", held.admin, f"Bearer {held.admin}x"):
        answer = ask(wrong)
        refused(answer, 401, "Authorization", "invalid_token")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(ask(f"Bearer {held.chat}"), 403, "Authorization")


@pytest.mark.parametrize(("method", "path"), [*routes(OPEN), *routes(CHAT)])
def test_answers_need_no_token_on_loopback(daemon: Daemon, method: str, path: str) -> None:
    daemon.context.stopping.set()  # endless streams end at once
    assert daemon.stranger.request(method, path).status_code in (200, 415)
    wrong = {"Authorization": "Bearer sk-anything"}  # OpenAI's client always sends one
    assert daemon.stranger.request(method, path, headers=wrong).status_code in (200, 415)


@pytest.mark.parametrize(("method", "path"), routes(CHAT))
def test_answers_need_a_token_where_others_can_reach_the_daemon(reachable: Daemon, method: str, path: str) -> None:
    daemon = reachable
    daemon.context.stopping.set()
    refused(daemon.stranger.request(method, path), 401, "Authorization")
    refused(daemon.stranger.request(method, path, headers={"Authorization": "Bearer sk-anything"}), 401)
    for token in (daemon.context.tokens.chat, daemon.context.tokens.admin):
        answer = daemon.stranger.request(method, path, headers={"Authorization": f"bearer {token}"})
        assert answer.status_code in (200, 415)
    assert daemon.stranger.get("/healthz").status_code == 200


def test_every_router_stands_in_one_of_the_tables() -> None:
    modules = [importlib.import_module(f"service.api.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    routers = [value for module in modules for value in vars(module).values() if isinstance(value, APIRouter)]
    assert len(routers) > 5 and all(router in (*OPEN, *CHAT, *ADMIN) for router in routers)


def test_tokens_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = tokens.load_or_create(tmp_path)
    path = tmp_path / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"chat": first.chat, "admin": first.admin}
    assert first.chat != first.admin and len(first.admin) >= 40
    path.chmod(0o644)
    assert tokens.load_or_create(tmp_path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    assert tokens.load_or_create(tmp_path / "other") != first


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"chat": "", "admin": ""}', '{"chat": 1, "admin": 2}', "é"])
def test_damaged_tokens_are_no_open_door(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.json").write_text(content)
    with pytest.raises(StateError, match=r"tokens\.json is damaged"):
        tokens.load_or_create(tmp_path)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.2", False),
        ("box.lan", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
    assert allowed_hosts(ServeSection(host=host)) >= {"localhost", "127.0.0.1", "::1"}


# routes


def test_addresses_and_methods_that_do_not_exist(daemon: Daemon) -> None:
    refused(daemon.client.get("/v2/chat"), 404, code="not_found")
    refused(daemon.stranger.get("/v1/embeddings"), 404, code="not_found")
    refused(daemon.client.get("/v1/status/"), 404)
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        refused(daemon.client.get(path), 404)
    answer = daemon.client.delete("/v1/feedback")
    refused(answer, 405, code="method_not_allowed")


def test_a_bug_is_answered_in_the_same_shape_and_tells_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(daemon.store, "count_events", bug)
    error = refused(daemon.client.get("/v1/status"), 500, code="internal_error")
    assert "secret" not in error["message"] and error["type"] == "server_error"
