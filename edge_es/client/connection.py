"""Where a daemon is, who may speak to it, and what an answer that is none means. For both clients; sends nothing."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from edge_es.client.errors import Refused, TooBusy, Unreachable
from edge_es.loopback import is_loopback

T = TypeVar("T")
URL = "http://127.0.0.1:8420"
TIMEOUT = httpx.Timeout(600.0, connect=5.0)  # seconds; a long answer or a probe round may take minutes
RETRIES = 5  # further tries where the daemon has too much to do, or is loading
LONGEST = 60.0  # seconds that a server's Retry-After is waited for


def address(url: str | None) -> str:
    """url, else $EDGE_ES_URL, else where a daemon listens by default."""
    return (url or os.environ.get("EDGE_ES_URL") or URL).rstrip("/")


def options(url: str, token: str | None, state_dir: Path | None, timeout: httpx.Timeout | float) -> dict[str, Any]:
    """Keyword arguments of httpx's clients. The token is the given one, else $EDGE_ES_TOKEN's, else the admin token of
    `tokens.json` in the state folder where `url` is that folder's daemon or on loopback, else none.

    Raises Unreachable for what is no address; ConfigError where the environment's settings are wrong.
    """
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise Unreachable(f"'{url}' is no address; write it like {URL}")
    token = token or os.environ.get("EDGE_ES_TOKEN") or _kept(state_dir, url, host)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # Proxies are not asked about this machine.
    return {"base_url": url, "headers": headers, "timeout": timeout, "trust_env": not is_loopback(host)}


def _kept(state_dir: Path | None, url: str, host: str) -> str | None:
    """The folder's token, for its own daemon and this machine: no other host is to be told it."""
    if state_dir is None:
        from edge_es.config import load

        own = load().state.dir
        if own is None:
            import platformdirs

            own = platformdirs.user_data_dir("edge-es", appauthor=False)
        state_dir = Path(own).expanduser()
    if not is_loopback(host) and _object(state_dir / "daemon.json").get("url") != url:
        return None
    token: str | None = _object(state_dir / "tokens.json").get("admin")
    return token


def _object(path: Path) -> dict[str, Any]:
    """A small JSON file; nothing where there is none: no daemon of this machine's, answers need no token there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def refusal(response: httpx.Response) -> Refused:
    """The daemon's own words."""
    try:
        error = response.json()["error"]
        message, param, code = str(error["message"]), error.get("param"), error.get("code")
    except (ValueError, KeyError, TypeError):
        message, param, code = response.text.strip()[:200] or f"HTTP {response.status_code}", None, None
    kind = TooBusy if may_try_again(response) else Refused
    return kind(message, response.status_code, param, code)


def may_try_again(response: httpx.Response) -> bool:
    """429, and 503 where the daemon says when: it is loading."""
    return response.status_code == 429 or (response.status_code == 503 and "retry-after" in response.headers)


def pause(response: httpx.Response, tries: int) -> float:
    """Seconds until the next try: as the daemon says, else longer each time, and not at once with all others."""
    try:
        said = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return min(LONGEST, 0.5 * 2**tries) * random.uniform(0.5, 1.0)
    return min(LONGEST, max(0.0, said))


def unreachable(url: object, error: httpx.HTTPError) -> Unreachable:
    """One line."""
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"no daemon answers at {url}; `edge-es serve` starts one")
    return Unreachable(f"the daemon at {url} broke off: {error or type(error).__name__}")


def understood(url: str, read: Callable[[str], T], text: str) -> T:
    """What `read` makes of an answer's text. Raises Unreachable where it is not what a daemon writes."""
    try:
        return read(text)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Unreachable(f"{url} answers otherwise than edge-es does; is it another server's address?") from None
