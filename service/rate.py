"""How often one client may ask: a token bucket each, and bounded memory for them all."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ApiError
from service.tokens import Tokens, matches

MOST_CLIENTS = 4096  # buckets kept; the one unused for longest goes first, and it is the fullest
UNLIMITED = ("/healthz", "/readyz")  # supervisors must not be told that a busy daemon is a dead one
FILES = "/dashboard/"  # of the page: a dozen for one look at it, and cheaper than a refusal


@dataclass
class Buckets:
    """Each client may make `rate` requests at once, and `rate` a minute from then on."""

    rate: int
    most: int = MOST_CLIENTS
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)  # client -> (tokens, when)

    def take(self, client: str, now: float) -> float:
        """0 where the client may ask now, else the seconds until it may. now: seconds of a monotonic clock."""
        tokens, when = self._left.pop(client, (float(self.rate), now))
        tokens = min(float(self.rate), tokens + (now - when) * self.rate / 60)
        wait = 0.0 if tokens >= 1 else (1 - tokens) * 60 / self.rate
        self._left[client] = (tokens - 1 if wait == 0 else tokens, now)
        if len(self._left) > self.most:
            self._left.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._left)


def client_of(scope: Scope, tokens: Tokens) -> str:
    """Who asks: the holder of one of the daemon's tokens, else an address (of IPv6 the /64 that one client has whole).

    A token that is not the daemon's makes no client: inventing tokens would be a way past the limit.
    """
    for name, value in scope["headers"]:
        scheme, _, given = value.decode("latin-1").partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            if matches(given.strip(), tokens.admin):
                return "token admin"
            if matches(given.strip(), tokens.chat):
                return "token chat"
    host = scope["client"][0] if scope.get("client") else "unknown"
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"address {host}"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return f"address {ipaddress.IPv6Network((address, 64), strict=False)}"
    return f"address {address}"


class RateLimit:
    """ASGI: answers 429 with Retry-After to a client that asks more often than `rate` times a minute."""

    def __init__(self, app: ASGIApp, rate: int, tokens: Callable[[], Tokens]) -> None:
        self.app, self.tokens, self.buckets = app, tokens, Buckets(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in UNLIMITED and not scope["path"].startswith(FILES):
            wait = self.buckets.take(client_of(scope, self.tokens()), time.monotonic())
            if wait:
                message = f"more than {self.buckets.rate} requests a minute (serve.rate); try again in {wait:.1f} s"
                headers = {"Retry-After": str(math.ceil(wait))}
                await ApiError(429, message, code="rate_limited", headers=headers).response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
