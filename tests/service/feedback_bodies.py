"""Bodies that the tests of feedback send, and the daemon they are sent to."""

import uuid
from typing import Any

from echo_daemon import Daemon

ASK = {"messages": [{"role": "user", "content": "2 + 2?"}]}
SHOWN = {"input": ASK, "metric_name": "demonstration", "value": "4"}
GRADED = {"input": ASK, "grader": {"type": "string_check", "operation": "eq", "reference": "4"}}

# Nothing is held out: what is sent waits.
SECTIONS: dict[str, Any] = {
    "learn": {"holdout": 0},
    "metrics": {
        "errors": {"type": "float", "optimize": "min", "low": 0, "high": 10},
        "solved": {"type": "boolean"},
        "flagged": {"type": "boolean", "optimize": "min"},
    },
}


def new_id() -> str:
    return str(uuid.uuid4())


def serve_one(daemon: Daemon, session: str | None = None, **fields: Any) -> str:
    headers = {"X-Session-Id": session} if session else {}
    body = {"model": "pocket", **ASK, **fields}
    answer: str = daemon.stranger.post("/v1/chat/completions", json=body, headers=headers).json()["id"]
    return answer
