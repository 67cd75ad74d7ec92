"""Server-sent events."""

import json
from typing import Any

PING = ": ping\n\n"  # a comment, which readers skip
PING_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"
DONE = "data: [DONE]\n\n"


def event(data: Any, name: str | None = None, number: str | None = None) -> str:
    """One event with JSON data. number: its id, by which a reader who comes back says how far it has read."""
    first = f"id: {number}\n" if number else ""
    first += f"event: {name}\n" if name else ""
    return f"{first}data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
