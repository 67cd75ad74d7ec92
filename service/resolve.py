"""A request's body as an Event: metrics and targets are checked, served completions are looked up.

Ratings are not centred here: the running mean of a metric belongs to the learner.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_never

from edge_es.config import MetricSection
from edge_es.errors import InputError
from edge_es.feedback import Drawn, Event, Exchange, Prompt
from service.completion_table import StoredCompletion
from service.errors import Unknown, UnknownField
from service.schemas import Feedback, Task
from service.store import Store

if TYPE_CHECKING:
    from edge_es.model import Base

RESERVED = ("demonstration", "preference", "comment")
MOST_EXCHANGES = 64  # of an episode: a step reads all of them under every member


def is_held_out(event_id: str, share: float) -> bool:
    """Is this event only probed, never trained on? Follows from its id alone, so that a repeat decides alike."""
    digest = hashlib.sha256(f"holdout/{event_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def resolve_feedback(body: Feedback, event_id: str, metrics: Mapping[str, MetricSection], store: Store) -> Event:
    """The event. Raises InputError (Unknown for an id that is not known) that names the field."""
    tags = body.tags or {}
    name = body.metric_name
    if body.output is not None and (body.input is None or name in RESERVED):
        raise InputError("output: it goes with input and a metric, as the answer that is rated", "output")
    if name == "demonstration":
        exchange = Exchange(_prompt(body, store), _text(body.value, "value"))
        return Event(event_id, "demonstration", (exchange,), tags=tags)
    if name == "preference":
        chosen, rejected = _pair(body.value)
        prompt = _prompt(body, store)
        return Event(event_id, "preference", (Exchange(prompt, chosen), Exchange(prompt, rejected)), tags=tags)
    if name == "comment":
        spoken_of = (Exchange(body.input.asked(), ""),) if body.input else _served(body, store)
        return Event(event_id, "comment", spoken_of, comment=_text(body.value, "value"), tags=tags)
    metric = metrics.get(name)
    if metric is None:
        known = ", ".join((*metrics, *RESERVED))
        raise InputError(f"metric_name: there is no metric '{name}'; there are {known}", "metric_name")
    rating = _rating(body.value, name, metric)
    if body.input is not None:
        if body.output is None:
            told = "give the rated answer as output, or name a served completion by inference_id"
            raise InputError(f"output: a rating is of an answer; {told}", "output")
        given = (Exchange(body.input.asked(), body.output),)
        return Event(event_id, "rating", given, metric=name, value=rating, tags=tags)
    return Event(
        event_id, "rating", _served(body, store), metric=name, value=rating, tags=tags, member=_member(body, store)
    )


def resolve_task(body: Task, event_id: str) -> Event:
    """The event. Raises InputError that names what is wrong with the grader."""
    from edge_es import graders

    graders.validate(body.grader)
    return Event(event_id, "task", (Exchange(body.input.asked(), ""),), grader=body.grader, tags=body.tags or {})


def check_lengths(base: "Base", event: Event) -> None:
    """Raises InputError where a prompt with its answer does not fit the model's context."""
    from edge_es.model import encode_answer, encode_prompt

    for exchange in event.exchanges if event.kind != "comment" else ():
        try:
            prompt = encode_prompt(base, exchange.prompt)
        except InputError as error:
            raise InputError(str(error), "input") from None
        answer = encode_answer(base, exchange.answer, exchange.ended)
        if len(prompt) + len(answer) > base.context:
            raise InputError(
                f"value: prompt and answer have {len(prompt)} + {len(answer)} tokens, but the model's context holds "
                f"{base.context}; shorten them",
                "value",
            )


def _rating(value: Any, name: str, metric: MetricSection) -> float:
    """Larger is better, whatever the metric optimises."""
    match metric.type:
        case "boolean":
            if not isinstance(value, bool):
                raise InputError(f"value: metric '{name}' takes true or false", "value")
            rating = 1.0 if value else -1.0
        case "float":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"value: metric '{name}' takes a number", "value")
            if not metric.low <= value <= metric.high:
                raise InputError(f"value: metric '{name}' goes from {metric.low:g} to {metric.high:g}", "value")
            rating = float(value)
        case _:
            assert_never(metric.type)
    return rating if metric.optimize == "max" else -rating


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{param}: must be a text that is not empty", param)
    return value


def _pair(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise InputError('value: a preference is {"chosen": "...", "rejected": "..."}', "value")
    for key in value:
        if key not in ("chosen", "rejected"):
            raise UnknownField(f"unknown field 'value.{key}'", f"value.{key}")
    chosen, rejected = (_text(value.get(key), f"value.{key}") for key in ("chosen", "rejected"))
    if chosen == rejected:
        raise InputError("value: chosen and rejected are the same", "value")
    return chosen, rejected


def _prompt(body: Feedback, store: Store) -> Prompt:
    """What a demonstration or a preference answers."""
    if body.input is not None:
        return body.input.asked()
    if body.episode_id is not None:
        raise InputError(
            f"episode_id: a {body.metric_name} is for one prompt; give inference_id or input", "episode_id"
        )
    return _completion(body, store).prompt


def _completion(body: Feedback, store: Store) -> StoredCompletion:
    assert body.inference_id is not None
    found = store.completion(body.inference_id)
    if found is None:
        raise Unknown(f"inference_id: no completion {body.inference_id} is known", "inference_id")
    return found


def _served(body: Feedback, store: Store) -> tuple[Exchange, ...]:
    """The answers that a rating or a comment speaks of."""
    if body.inference_id is not None:
        completion = _completion(body, store)
        if len(completion.answers) > 1 and body.metric_name not in RESERVED:
            raise InputError(
                f"inference_id: {completion.id} has {len(completion.answers)} answers, and a rating is of one; "
                "ask with n = 1",
                "inference_id",
            )
        return _exchanges(completion)
    assert body.episode_id is not None
    episode = store.episode(body.episode_id, MOST_EXCHANGES + 1)
    if not episode:
        raise Unknown(f"episode_id: no episode {body.episode_id} is known", "episode_id")
    exchanges = tuple(exchange for completion in episode for exchange in _exchanges(completion))
    if len(exchanges) > MOST_EXCHANGES:
        raise InputError(
            f"episode_id: episode {body.episode_id} has more than {MOST_EXCHANGES} answers, the most that feedback may "
            "speak of at once; name single answers by inference_id",
            "episode_id",
        )
    return exchanges


def _member(body: Feedback, store: Store) -> Drawn | None:
    """The member whose fitness a rating is. An episode may have been answered by several, so it is none's."""
    return _completion(body, store).member if body.inference_id is not None else None


def _exchanges(completion: StoredCompletion) -> tuple[Exchange, ...]:
    return tuple(
        Exchange(completion.prompt, answer.text, answer.finish_reason == "stop") for answer in completion.answers
    )
