"""Feedback and tasks on their way in: checked, resolved, and durable before they are acknowledged. Blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from edge_es.errors import EdgeError
from edge_es.feedback import Event
from service.clock import uuid7
from service.context import Context
from service.duplicates import digest
from service.errors import ApiError, refusal
from service.resolve import check_lengths, is_held_out, resolve_feedback, resolve_task
from service.schemas import Feedback, Task
from service.store import DiskFull
from service.strict_json import parse_object

Kind = Literal["feedback", "task"]


@dataclass(frozen=True)
class Checked:
    """A body that passed every check. event: None where there is nothing to store (a repeat, a dry run)."""

    id: str
    raw: dict[str, Any]
    event: Event | None
    repeated: bool = False


def check(context: Context, raw: dict[str, Any], kind: Kind) -> Checked:
    """Raises ValidationError or InputError that names the field. Stores nothing."""
    body = Task.model_validate(raw) if kind == "task" else Feedback.model_validate(raw)
    if body.id and context.store.repeats(body.id, raw):
        return Checked(body.id, raw, None, repeated=True)
    event_id = body.id or uuid7()
    if isinstance(body, Task):
        event = resolve_task(body, event_id)
    else:
        event = resolve_feedback(body, event_id, context.config.all_metrics(), context.store)
    check_lengths(context.engine.base, event)
    return Checked(event_id, raw, None if body.dryrun else event)


def _add(context: Context, checked: Checked) -> bool:
    """Stores it. True if it was there already: two requests may bring the same event at once."""
    if checked.event is None:
        return checked.repeated
    held_out = is_held_out(checked.id, context.config.learn.holdout)
    section, content = context.config.feedback, digest(checked.event, checked.raw)
    new = context.store.add_event(checked.event, checked.raw, held_out, section.review, content, section.weight)
    if new:
        context.metrics.feedback.labels(checked.event.kind).inc()
    return not new


def take(context: Context, raw: dict[str, Any], kind: Kind) -> str:
    """One event, durable when this returns its id."""
    checked = check(context, raw, kind)
    _add(context, checked)
    context.fed()
    return checked.id


def take_lines(context: Context, lines: Sequence[tuple[int, bytes]], kind: Kind) -> list[dict[str, Any]]:
    """Many events in one durable commit; a line that is refused says why and keeps no other from being stored.

    Returns [{"line", "feedback_id", "repeated"?} | {"line", "error"}]. Raises DiskFull: then none was stored.
    """
    results: list[dict[str, Any]] = []
    passed: list[tuple[int, Checked]] = []
    for number, line in lines:
        try:
            passed.append((number, check(context, parse_object(line), kind)))
        except (EdgeError, ValidationError) as error:
            results.append(_refused(number, error))
    with context.store.transaction():
        for number, checked in passed:
            try:
                repeated = _add(context, checked)
            except DiskFull:
                raise
            except EdgeError as error:
                results.append(_refused(number, error))
            else:
                row = {"line": number, "feedback_id": checked.id}
                results.append({**row, "repeated": True} if repeated else row)
    context.fed()
    return sorted(results, key=lambda result: result["line"])


def _refused(number: int, error: EdgeError | ValidationError) -> dict[str, Any]:
    known = refusal(error)
    assert isinstance(known, ApiError)
    return {"line": number, **known.as_json()}
