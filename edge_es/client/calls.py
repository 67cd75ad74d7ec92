"""What can be asked of the daemon and what its answers mean: plain values, no network.

Each public function is a method of both clients, by its name, arguments and docstring; there it is sent, and gives what
`read` makes of the answer. Besides what each names they raise what `Client` says.
"""

import inspect
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, get_args

from edge_es.client import values
from edge_es.client.errors import Refused
from edge_es.client.values import Fate, RetentionRow, Status, Version

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Chat = str | Sequence[Mapping[str, str]]  # what a user says, or messages with role and content
Tags = Mapping[str, str]


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

    def read_text(self, text: str) -> T:
        """Of the answer's text. Raises ValueError, KeyError, IndexError, TypeError or AttributeError for another."""
        return self.read(json.loads(text))


def as_method(call: Callable[..., Call[Any]], method: F) -> F:
    """`method`, which takes a client before the arguments of `call`, with its name, its docstring and its signature."""
    told = inspect.signature(call)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    (gives,) = get_args(told.return_annotation)
    method.__name__, method.__doc__ = call.__name__, call.__doc__
    method.__signature__ = told.replace(parameters=[own, *told.parameters.values()], return_annotation=gives)  # type: ignore[attr-defined]
    return method


def _input(asked: Chat) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else [dict(one) for one in asked]
    return {"messages": messages}


def _target(of: str | None, episode: str | None, asked: Chat | None, output: str | None = None) -> dict[str, Any]:
    given = {"inference_id": of, "episode_id": episode, "input": None if asked is None else _input(asked)}
    known = {key: value for key, value in given.items() if value is not None}
    if len(known) != 1:
        raise ValueError("give exactly one of an inference id, an episode and a prompt")
    return {**known, **({"output": output} if output is not None else {})}


def _event(path: str, told: Mapping[str, Any], tags: Tags | None, id: str | None) -> Call[str]:
    """It has an id from here on, so that a try after a lost answer counts once."""
    body = {"id": id or str(uuid.uuid4()), **told, **({"tags": dict(tags)} if tags else {})}
    return Call("POST", path, lambda found: str(found["feedback_id"]), body)


def _feedback(metric: str, value: Any, target: Mapping[str, Any], tags: Tags | None, id: str | None) -> Call[str]:
    return _event("/v1/feedback", {**target, "metric_name": metric, "value": value}, tags, id)


def completion(
    asked: Chat, model: str, session: str | None, stream: bool, more: Mapping[str, Any]
) -> Call[values.Answer]:
    """A chat completion of `model`. session: the episode that it belongs to."""
    body = {"model": model, **_input(asked), **more, **({"stream": True} if stream else {})}
    headers = {"X-Session-Id": session} if session else None
    return Call("POST", "/v1/chat/completions", values.answer, body, headers=headers)


# answers


def models() -> Call[list[str]]:
    """Names of what is served: one."""
    return Call("GET", "/v1/models", lambda found: [one["id"] for one in found["data"]])


# feedback


def rate(
    of: str | None = None,
    value: bool | float = True,
    *,
    metric: str = "thumbs",
    episode: str | None = None,
    asked: Chat | None = None,
    answer: str | None = None,
    tags: Tags | None = None,
    id: str | None = None,
) -> Call[str]:
    """A rating. The event's id.

    of: id of a served answer; or episode: the session of several; or asked, answer: any prompt with any answer.
    value: what `metric` takes: True or False (`thumbs`), -1 to 1 (`rating`), or what is configured for it.
    tags: kept with it; `source` is what weights go by. id: a UUID of one's own; the same event sent again under it
    counts once. Raises ValueError unless exactly one of of, episode and asked is given; Refused: 404 for an answer that
    is not known (any more), 409 for an id of another event, 422 for a value or a metric that is wrong.
    """
    return _feedback(metric, value, _target(of, episode, asked, answer), tags, id)


def demonstrate(
    asked: Chat | None, answer: str, *, of: str | None = None, tags: Tags | None = None, id: str | None = None
) -> Call[str]:
    """The better answer to a prompt, or (asked None) to what was asked of the served answer `of`. The event's id.

    tags, id, errors: as of `rate`.
    """
    return _feedback("demonstration", answer, _target(of, None, asked), tags, id)


def prefer(
    asked: Chat | None,
    chosen: str,
    rejected: str,
    *,
    of: str | None = None,
    tags: Tags | None = None,
    id: str | None = None,
) -> Call[str]:
    """Which of two answers is better, to a prompt or (asked None) to what was asked of the served answer `of`. The
    event's id.

    tags, id, errors: as of `rate`.
    """
    pair = {"chosen": chosen, "rejected": rejected}
    return _feedback("preference", pair, _target(of, None, asked), tags, id)


def comment(
    text: str,
    *,
    of: str | None = None,
    episode: str | None = None,
    asked: Chat | None = None,
    tags: Tags | None = None,
    id: str | None = None,
) -> Call[str]:
    """Words on an answer, an episode or a prompt: kept, not learned from. The event's id.

    of, episode, asked, tags, id, errors: as of `rate`.
    """
    return _feedback("comment", text, _target(of, episode, asked), tags, id)


def task(asked: Chat, grader: Mapping[str, Any], *, tags: Tags | None = None, id: str | None = None) -> Call[str]:
    """A prompt whose answers a grader judges, such as {"type": "numeric", "reference": 42}. The event's id.

    tags, id: as of `rate`. Raises Refused: 409 for an id of another event, 422 for a grader that is wrong.
    """
    return _event("/v1/tasks", {"input": _input(asked), "grader": dict(grader)}, tags, id)


def fate(id: str) -> Call[Fate]:
    """What became of an event. Raises Refused (404) where there is none of that id."""
    return Call("GET", f"/v1/feedback/{id}", values.fate)


# the model


def status() -> Call[Status]:
    """Version, learning and retention now."""
    return Call("GET", "/v1/status", values.status)


def versions() -> Call[list[Version]]:
    """All attempts to learn, oldest first."""
    return Call("GET", "/v1/versions", lambda found: [values.version(row) for row in found["versions"]])


def _rows(found: Any) -> list[RetentionRow]:
    return [values.retention_row(row) for row in found["retention"]]


def retention(version: int | None = None, suite: str | None = None) -> Call[list[RetentionRow]]:
    """What became of the prior abilities, oldest first; of one version or suite where it is named."""
    asked = {"version": version, "suite": suite}
    return Call("GET", "/v1/retention", _rows, params={key: one for key, one in asked.items() if one is not None})


def probe() -> Call[list[RetentionRow]]:
    """Probes the served version now, which may take minutes; its rows."""
    return Call("POST", "/v1/probes/run", _rows, {})


def rollback(version: int, reason: str | None = None) -> Call[int]:
    """Serves an earlier version's delta again; the number of the new version that has it. reason: kept with it.

    Raises Refused: 404 for a version that does not exist, 409 for the served one and for one that cannot be rebuilt.
    """
    body = {"version": version, **({"reason": reason} if reason else {})}
    return Call("POST", "/v1/rollback", lambda found: int(found["version"]), body)


def _learning(verb: str, reason: str | None) -> Call[str]:
    body = {"reason": reason} if reason else {}
    return Call("POST", f"/v1/learning/{verb}", lambda found: str(found["learning"]), body)


def pause(reason: str | None = None) -> Call[str]:
    """No further steps; answers go on. How learning stands then: "paused". reason: shown with it."""
    return _learning("pause", reason)


def resume() -> Call[str]:
    """Learning goes on. How it stands then: "active", "idle", or "paused" where something else keeps it."""
    return _learning("resume", None)


# streams


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


def piece_of(line: str) -> values.Piece | None:
    """What a line of a stream says of the answer; None where nothing. Raises as `event_data` and `Call.read_text`."""
    found = event_data(line)
    return None if found is None else values.piece(found)
