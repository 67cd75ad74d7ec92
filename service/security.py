"""Who may speak to the daemon: Host and Origin checks, limits of heads and bodies, bearer tokens.

A page in the user's browser can reach loopback. It cannot forge these: its Origin is its own, a name it rebinds to
127.0.0.1 shows in Host, and JSON bodies (`service.bodies`) are out of reach of plain forms. CORS stays off. The
checks of headers are pure ASGI, so that streams pass through untouched.
"""

import asyncio
import ipaddress
import re
from collections.abc import Iterable

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_es.config import ServeSection
from edge_es.loopback import is_loopback
from service.errors import ApiError
from service.tokens import Tokens, matches

MAX_BODY = 4 * 2**20  # bytes
BODY_SECONDS = 60.0  # from a request's headers to the end of its body
MAX_TARGET = 8 * 2**10  # bytes of path and query
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 2**10  # of all of them

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>.+)")


def parse_host(value: str) -> tuple[str, int | None] | None:
    """'[::1]:8420' as ('::1', 8420); names in lower case; None for what is no host."""
    match = _HOST.fullmatch(value)
    if not match:
        return None
    port = int(match["port"]) if match["port"] else None
    if match["six"]:
        try:
            return ipaddress.IPv6Address(match["six"]).compressed, port
        except ValueError:
            return None
    return match["name"].lower(), port


def allowed_hosts(serve: ServeSection) -> frozenset[str]:
    """Host names that requests may carry: loopback's, the one that is bound, and the configured ones."""
    own = f"[{serve.host}]" if ":" in serve.host else serve.host
    parsed = [parse_host(name) for name in ("localhost", "127.0.0.1", "[::1]", own, *serve.allowed_hosts)]
    return frozenset(host for host, _ in filter(None, parsed))


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _same_origin(origin: str, host: tuple[str, int | None]) -> bool:
    match = _ORIGIN.fullmatch(origin)
    found = parse_host(match["host"]) if match else None
    if match is None or found is None:
        return False
    default = 443 if match["scheme"] == "https" else 80
    return (found[0], found[1] or default) == (host[0], host[1] or default)


def _check_head(scope: Scope) -> None:
    """The server bounds only what comes in pieces."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
        raise ApiError(414, f"the address is longer than {MAX_TARGET} bytes", code="too_long")
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        message = f"more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them"
        raise ApiError(431, message, code="headers_too_long")


class Perimeter:
    """Refuses foreign Hosts (421 would invite a retry: 403), foreign Origins (403), long and slow bodies (413, 408),
    compressed ones (415), and long addresses and headers (414, 431)."""

    body_seconds = BODY_SECONDS

    def __init__(self, app: ASGIApp, hosts: Iterable[str], max_body: int = MAX_BODY) -> None:
        self.app, self.hosts, self.max_body = app, frozenset(hosts), max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, self._limited(receive), send)

    def _check(self, scope: Scope) -> None:
        _check_head(scope)
        given = _header(scope, b"host")
        host = parse_host(given[0]) if len(given) == 1 else None
        if host is None or host[0] not in self.hosts:
            raise ApiError(
                403,
                f"Host {', '.join(given) or '(none)'} is not allowed; add it to serve.allowed_hosts",
                "Host",
                "host_not_allowed",
            )
        for origin in _header(scope, b"origin"):
            if not _same_origin(origin, host):
                raise ApiError(403, f"requests from pages of {origin} are refused", "Origin", "origin_not_allowed")
        for encoding in _header(scope, b"content-encoding"):
            if encoding.strip().lower() not in ("", "identity"):  # a few bytes could become gigabytes
                message = f"Content-Encoding {encoding[:40]!a} is refused; send the body as it is"
                raise ApiError(415, message, "Content-Encoding", "unsupported_media_type")
        for length in _header(scope, b"content-length"):
            if length.isdecimal() and int(length) > self.max_body:
                raise self._too_long()

    def _too_long(self) -> ApiError:
        return ApiError(413, f"the body is longer than {self.max_body} bytes; send less at once", code="too_long")

    def _limited(self, receive: Receive) -> Receive:
        seen, ended = 0, False
        deadline = asyncio.get_running_loop().time() + self.body_seconds

        async def limited() -> Message:
            nonlocal seen, ended
            try:
                async with asyncio.timeout_at(None if ended else deadline):  # behind the body comes only the farewell
                    message = await receive()
            except TimeoutError:
                said = f"the body took longer than {self.body_seconds:g} s"
                raise ApiError(408, said, code="too_slow", headers={"Connection": "close"}) from None
            seen += len(message.get("body", b""))
            if seen > self.max_body:
                raise self._too_long()
            ended = not message.get("more_body", False)
            return message

        return limited


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, message, "Authorization", "invalid_token", {"WWW-Authenticate": "Bearer"})


def is_admin(request: Request) -> bool:
    """Does the request carry the admin token? For what everybody may read, and its holders a little more of."""
    given = _bearer(request)
    return given is not None and matches(given, request.app.state.context.tokens.admin)


def require_admin(request: Request) -> None:
    """A dependency: what changes the model, or tells of it, needs the admin token, on loopback too. Raises ApiError:
    401, and 403 with the chat token."""
    tokens: Tokens = request.app.state.context.tokens
    given = _bearer(request)
    if given is None:
        raise _unauthorised("this needs the admin token; `edge-es token` prints it: send 'Authorization: Bearer TOKEN'")
    if matches(given, tokens.admin):
        return
    if matches(given, tokens.chat):
        raise ApiError(403, "the chat token may only ask for answers; this needs the admin token", "Authorization")
    raise _unauthorised("the token is wrong; `edge-es token` prints the right one")


def chat_is_open(serve: ServeSection) -> bool:
    """Do answers need no token from who calls this machine by a loopback name? A configured name says that there is a
    reverse proxy, behind which anyone may be: its own connection comes from loopback."""
    return is_loopback(serve.host) and not serve.allowed_hosts


def require_chat(request: Request) -> None:
    """A dependency: answers need a token unless the daemon is reached on loopback only, and by such a name. Raises
    ApiError 401."""
    context = request.app.state.context
    named = parse_host(request.headers.get("host", ""))
    if chat_is_open(context.config.serve) and named is not None and is_loopback(named[0]):
        return
    given = _bearer(request)
    if given is None:
        raise _unauthorised("others may reach this daemon, so it needs a token; `edge-es token` prints it")
    if not matches(given, context.tokens.chat, context.tokens.admin):
        raise _unauthorised("the token is wrong; `edge-es token` prints the right one")
