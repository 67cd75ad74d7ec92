"""What is asked of the daemon and what its answers mean, for both clients: plain values, no network."""

import ipaddress
import json
import os
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx

from edge_es.client import values
from edge_es.client.errors import Refused, TooBusy, Unreachable

T = TypeVar("T")
URL = "http://127.0.0.1:8420"
TIMEOUT = httpx.Timeout(600.0, connect=5.0)  # seconds; a long answer or a probe round may take minutes
RETRIES = 5  # further tries where the daemon has too much to do, or is loading
LONGEST = 60.0  # seconds that a server's Retry-After is waited for
Chat = str | Sequence[Mapping[str, str]]  # what a user says, or messages with role and content


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its JSON answer is read."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None

    def sent(self) -> dict[str, Any]:
        """As httpx takes it."""
        told = {"json": self.body, "params": self.params, "headers": self.headers}
        return {key: value for key, value in told.items() if value is not None}


def address(url: str | None) -> str:
    """url, else $EDGE_ES_URL, else where a daemon listens by default."""
    return (url or os.environ.get("EDGE_ES_URL") or URL).rstrip("/")


def options(url: str, token: str | None, state_dir: Path | None, timeout: httpx.Timeout | float) -> dict[str, Any]:
    """Keyword arguments of httpx's clients. The token is the given one, else $EDGE_ES_TOKEN's, else the admin token of
    `tokens.json` in the state folder, else none. The folder is this machine's own: without a `state_dir` its token is
    told to this machine alone. Raises Unreachable for what is no address."""
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise Unreachable(f"'{url}' is no address; write it like {URL}")
    own = _is_loopback(host)
    token = token or os.environ.get("EDGE_ES_TOKEN") or (_kept(state_dir) if own or state_dir else None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {"base_url": url, "headers": headers, "timeout": timeout, "trust_env": not own}  # no proxy to oneself


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: 127.example.org is anyone's
        return host.lower() == "localhost"


def _kept(state_dir: Path | None) -> str | None:
    if state_dir is None:
        from edge_es.config import load

        own = load().state.dir
        if own is None:
            import platformdirs

            own = platformdirs.user_data_dir("edge-es", appauthor=False)
        state_dir = Path(own).expanduser()
    try:
        kept = json.loads((state_dir / "tokens.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no daemon of this machine's: answers need no token there
        return None
    token: str | None = kept.get("admin") if isinstance(kept, dict) else None
    return token


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


# the calls


def _input(asked: Chat) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else [dict(one) for one in asked]
    return {"messages": messages}


def models() -> Call[list[str]]:
    """Names of what is served."""
    return Call("GET", "/v1/models", lambda found: [one["id"] for one in found["data"]])


def chat(asked: Chat, model: str, session: str | None, stream: bool, more: Mapping[str, Any]) -> Call[values.Answer]:
    """A chat completion. session: the episode that it belongs to."""
    body = {"model": model, **_input(asked), **more, **({"stream": True} if stream else {})}
    headers = {"X-Session-Id": session} if session else None
    return Call("POST", "/v1/chat/completions", values.answer, body, headers=headers)


def feedback(
    metric: str,
    value: Any,
    target: Mapping[str, Any],
    tags: Mapping[str, str] | None,
    event_id: str | None,
) -> Call[str]:
    """An event. It has an id from here on, so that a try after a lost answer counts once."""
    told = {"id": event_id or str(uuid.uuid4()), **target, "metric_name": metric, "value": value}
    return Call("POST", "/v1/feedback", _id, {**told, **({"tags": dict(tags)} if tags else {})})


def task(asked: Chat, grader: Mapping[str, Any], tags: Mapping[str, str] | None, event_id: str | None) -> Call[str]:
    """A prompt whose answers are graded."""
    told = {"id": event_id or str(uuid.uuid4()), "input": _input(asked), "grader": dict(grader)}
    return Call("POST", "/v1/tasks", _id, {**told, **({"tags": dict(tags)} if tags else {})})


def _id(found: Any) -> str:
    return str(found["feedback_id"])


def target(of: str | None, episode: str | None, asked: Chat | None, output: str | None = None) -> dict[str, Any]:
    """What feedback speaks of: exactly one of an inference, an episode and a prompt. Raises ValueError."""
    given = {"inference_id": of, "episode_id": episode, "input": None if asked is None else _input(asked)}
    known = {key: value for key, value in given.items() if value is not None}
    if len(known) != 1:
        raise ValueError("give exactly one of an inference id, an episode and a prompt")
    return {**known, **({"output": output} if output is not None else {})}


def fate(event_id: str) -> Call[values.Fate]:
    """What became of an event."""
    return Call("GET", f"/v1/feedback/{event_id}", values.fate)


def status() -> Call[values.Status]:
    """Version, learning, retention."""
    return Call("GET", "/v1/status", values.status)


def versions() -> Call[list[values.Version]]:
    """All attempts, oldest first."""
    return Call("GET", "/v1/versions", lambda found: [values.version(row) for row in found["versions"]])


def retention(version: int | None, suite: str | None) -> Call[list[values.RetentionRow]]:
    """The log, or what of it is of one version or suite."""
    asked = {"version": version, "suite": suite}
    params = {key: value for key, value in asked.items() if value is not None}
    read = lambda found: [values.retention_row(row) for row in found["retention"]]  # noqa: E731
    return Call("GET", "/v1/retention", read, params=params)


def rollback(version: int, reason: str | None) -> Call[int]:
    """The number of the new version."""
    body = {"version": version, **({"reason": reason} if reason else {})}
    return Call("POST", "/v1/rollback", lambda found: int(found["version"]), body)


def learning(verb: str, reason: str | None = None) -> Call[str]:
    """pause or resume; how learning stands then."""
    body = {"reason": reason} if reason else {}
    return Call("POST", f"/v1/learning/{verb}", lambda found: str(found["learning"]), body)


def run_probes() -> Call[list[values.RetentionRow]]:
    """A probe round of the served version."""
    read = lambda found: [values.retention_row(row) for row in found["retention"]]  # noqa: E731
    return Call("POST", "/v1/probes/run", read, {})


def event_data(line: str) -> Any:
    """The JSON of a line of a stream; None for pings and its end. Raises Refused where the daemon reports an error."""
    if not line.startswith("data:"):
        return None
    data = line[5:].strip()
    if data == "[DONE]":
        return None
    found = json.loads(data)
    if "error" in found:
        error = found["error"]
        raise Refused(str(error["message"]), 500, error.get("param"), error.get("code"))
    return found
