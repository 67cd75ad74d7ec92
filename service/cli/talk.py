"""A conversation with a daemon over its API: streamed answers, and what is thought of them. Prints nothing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from edge_es.errors import EdgeError, StateError
from service.cli.client import refusal, request
from service.clock import uuid7


@dataclass
class Said:
    """One answer as it comes in. id: of the inference; version: the one that gave it."""

    question: str
    id: str = ""
    version: int = 0
    text: str = ""


@dataclass
class Talk:
    """messages: so far, the system's first. session: groups the answers into an episode (X-Session-Id)."""

    client: httpx.Client
    model: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    session: str = field(default_factory=uuid7)
    last: Said | None = None

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forgets what was said."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.session, self.last = uuid7(), None

    def ask(self, question: str) -> Iterator[str]:
        """The answer, piece by piece; `last` holds it meanwhile and afterwards. What breaks off leaves the talk as it
        was before the question, unless some of the answer was there. Raises EdgeError."""
        asked = [*self.messages, {"role": "user", "content": question}]
        self.last = said = Said(question)
        given = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        body = {"model": self.model, "messages": asked, "stream": True}
        body |= {name: value for name, value in given.items() if value is not None}
        try:
            for piece in self._stream(body, said):
                said.text += piece
                yield piece
        finally:
            if said.id:
                self.messages = [*asked, {"role": "assistant", "content": said.text}]
            else:
                self.last = None

    def _stream(self, body: dict[str, Any], said: Said) -> Iterator[str]:
        headers = {"X-Session-Id": self.session}
        try:
            with self.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                for line in response.iter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise EdgeError(f"the daemon broke off: {chunk['error']['message']}")
                    said.id = chunk["id"]
                    said.version = int(chunk["system_fingerprint"].removeprefix("edge-es-v"))
                    for choice in chunk["choices"]:
                        if text := choice["delta"].get("content"):
                            yield text
        except httpx.ConnectError:
            raise StateError(f"no daemon answers at {self.client.base_url}; `edge-es serve` starts one") from None
        except (httpx.HTTPError, ValueError) as error:
            raise StateError(
                f"the daemon at {self.client.base_url} broke off: {error or type(error).__name__}"
            ) from None

    def rate(self, good: bool) -> dict[str, Any]:
        """Thumbs for the last answer: what was sent, with its feedback_id. Raises EdgeError."""
        return self._feedback("thumbs", good)

    def correct(self, better: str) -> dict[str, Any]:
        """A better text for the last answer, which the talk goes on with. Raises EdgeError."""
        sent = self._feedback("demonstration", better)
        self.messages[-1] = {"role": "assistant", "content": better}
        return sent

    def _feedback(self, metric: str, value: bool | str) -> dict[str, Any]:
        if self.last is None or not self.last.id:
            raise EdgeError("there is no answer yet that could be rated; ask something first")
        body = {"inference_id": self.last.id, "metric_name": metric, "value": value}
        body["tags"] = {"source": "edge-es chat"}  # type: ignore[assignment]
        found = request(self.client, "POST", "/v1/feedback", body=body)
        return {
            "feedback_id": found["feedback_id"],
            "inference_id": self.last.id,
            "metric_name": metric,
            "value": value,
        }
