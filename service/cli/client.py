"""The daemon's HTTP API as a few plain functions. A failure is one line with its remedy."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from edge_es.errors import EdgeError, StateError
from edge_es.loopback import is_loopback
from service.cli.address import Daemon

TIMEOUT = httpx.Timeout(600.0, connect=5.0)  # seconds; a probe round or a replay may take minutes


class ApiError(EdgeError):
    """The daemon refused a request; `status` is the HTTP status, `param` the field it names."""

    def __init__(self, message: str, status: int, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


def connect(daemon: Daemon, timeout: httpx.Timeout = TIMEOUT) -> httpx.Client:
    """A client with the daemon's address and token. Proxies from the environment are not used on loopback. Raises
    StateError for what is no address."""
    headers = {"Authorization": f"Bearer {daemon.token}"} if daemon.token else {}
    try:
        host = httpx.URL(daemon.url).host
    except httpx.InvalidURL:
        raise StateError(f"'{daemon.url}' is no address; write it like http://127.0.0.1:8420") from None
    return httpx.Client(base_url=daemon.url, headers=headers, timeout=timeout, trust_env=not is_loopback(host))


def answers(url: str) -> bool:
    """True where a daemon is alive at this address."""
    try:
        with connect(Daemon(url), httpx.Timeout(3.0)) as client:
            return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def refusal(response: httpx.Response) -> ApiError:
    """What the daemon said, in one line with its remedy."""
    try:
        error = response.json()["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, param = response.text.strip()[:200] or "no message", None
    where = f" (field {param})" if param and param not in message else ""
    if response.status_code in (401, 403):
        message += "; give the admin token by EDGE_ES_TOKEN, or name the daemon's folder by --state-dir"
    return ApiError(f"the daemon refused: {message}{where}", response.status_code, param)


def request(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    body: Any = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str | int] | None = None,
) -> Any:
    """The JSON answer. Raises ApiError where the daemon refuses, StateError where it cannot be reached."""
    try:
        response = client.request(
            method, path, json=body, content=content, headers=dict(headers or {}), params=dict(params or {})
        )
        if response.is_error:
            raise refusal(response)
        return response.json()
    except httpx.ConnectError:
        raise StateError(f"no daemon answers at {client.base_url}; `edge-es serve` starts one") from None
    except httpx.UnsupportedProtocol:
        raise StateError(f"'{client.base_url}' is no address; write it like http://127.0.0.1:8420") from None
    except httpx.HTTPError as error:
        raise StateError(f"the daemon at {client.base_url} broke off: {error or type(error).__name__}") from None
    except json.JSONDecodeError:
        raise StateError(f"{client.base_url} answered {path} with no JSON; is it an edge-es daemon?") from None


def get(daemon: Daemon, path: str, **params: str | int) -> Any:
    """GET; the JSON answer."""
    with connect(daemon) as client:
        return request(client, "GET", path, params=params)


def post(daemon: Daemon, path: str, body: Any = None) -> Any:
    """POST of a JSON body; the JSON answer."""
    with connect(daemon) as client:
        return request(client, "POST", path, body={} if body is None else body)
