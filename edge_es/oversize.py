"""Which events the memory budget cannot hold, each by itself: they stand aside, so that others are learned from."""

from collections.abc import Sequence

from edge_es.errors import InputError, TooLarge
from edge_es.feedback import Event
from edge_es.fitness import texts_of
from edge_es.footprint import Shape
from edge_es.memory import Plan
from edge_es.model import Base


def too_large(base: Base, events: Sequence[Event], room: Plan, task_tokens: int, rows: int) -> dict[str, str]:
    """Event -> the reason, for those of which `rows` rows do not fit in this room: 2, a pair of members, to be learned
    from; 1 to be probed. Empty where the room holds no event, however short: then it is not theirs that it is small.

    First those that do not fit alone. Where all do, those whose answers would not fit beside others: a batch keeps the
    logits of every column in which one of its texts has an answer, at most all of a text's.
    """
    try:
        room.rows(base, Shape(1, 1), rows) if rows > 1 else room.answers(base, 1, 1)
    except TooLarge:
        return {}
    for every_column in (False, True):
        found = {event.id: _lacking(base, event, room, task_tokens, rows, every_column) for event in events}
        reasons = {one: reason for one, reason in found.items() if reason is not None}
        if reasons:
            return reasons
    return {}


def _lacking(base: Base, event: Event, room: Plan, task_tokens: int, rows: int, every_column: bool) -> str | None:
    try:
        for text in texts_of(base, event):
            if event.kind == "task":
                room.answers(base, len(text) + task_tokens, 1)
            elif rows > 1:
                room.rows(base, Shape(len(text), len(text) if every_column else max(1, len(text.answer))), rows)
            else:
                room.tokens(base, [text])
    except TooLarge as error:
        return str(error)
    except InputError:  # does not fit the model: whoever reads it says so
        return None
    return None
