"""Open WebUI's ratings: Admin Panel > Evaluations > Feedbacks > Export, a JSON list.

An entry has `data.rating` (1 or -1, of a thumb), `meta.message_id` and a snapshot of the whole chat, in which messages
form a tree by `parentId` (`snapshot.chat.chat.history.messages`). From it come

| the entry | an event |
| --- | --- |
| a thumb on an answer | a rating of that answer to the messages above it (`thumbs`) |
| thumbs up and down on two answers to the same question | a preference of the two beside the ratings |
| a comment | a comment on the prompt |

The answers need not be edge-es's: a rating carries prompt and answer with it. Entries of the arena that name a winner
among models are ratings of that model's answer like all others.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from service.importers import Row, records

Messages = Mapping[str, Mapping[str, Any]]


def read(text: str) -> Iterator[Row]:
    """The rows of an export. A rating that names no message of its snapshot is refused."""
    judged: dict[str, dict[int, tuple[str, str]]] = {}  # parent message -> thumb -> (answer, entry)
    for number, entry in records(text):
        try:
            body, parent, answer = _rating(entry)
        except ValueError as error:
            yield Row(number, refusal=str(error))
            continue
        key = str(entry.get("id"))
        yield Row(number, body, key=key)
        comment = (entry.get("data") or {}).get("comment")
        if isinstance(comment, str) and comment.strip():
            yield Row(number, {"input": body["input"], "metric_name": "comment", "value": comment.strip()}, key=key)
        thumbs = judged.setdefault(parent, {})
        thumbs[1 if body["value"] else -1] = (answer, key)
        if len(thumbs) == 2 and thumbs[1][0] != thumbs[-1][0]:
            pair = {"chosen": thumbs[1][0], "rejected": thumbs[-1][0]}
            both = "+".join((thumbs[1][1], thumbs[-1][1]))
            yield Row(number, {"input": body["input"], "metric_name": "preference", "value": pair}, key=both)


def _rating(entry: Any) -> tuple[dict[str, Any], str, str]:
    """(body, the message that is answered, the answer). Raises ValueError that says what is missing."""
    if not isinstance(entry, dict):
        raise ValueError(str(entry) if isinstance(entry, ValueError) else "an entry is a JSON object")
    for key in ("data", "meta", "snapshot"):
        if not isinstance(entry.get(key) or {}, dict):
            raise ValueError(f"`{key}` is no JSON object, which Open WebUI writes there")
    if entry.get("type", "rating") != "rating":
        raise ValueError(f"a feedback of type '{entry['type']}' is no rating")
    data, meta = entry.get("data") or {}, entry.get("meta") or {}
    try:
        thumb = int(data.get("rating") or 0)
    except (TypeError, ValueError):
        thumb = 0
    if thumb not in (1, -1):
        raise ValueError(f"data.rating is {data.get('rating')!r}; a thumb is 1 or -1")
    messages = _messages(entry)
    message = messages.get(str(meta.get("message_id")))
    if message is None:
        raise ValueError("its snapshot does not hold the message that meta.message_id names; export with the chats")
    answer, prompt = _text(message), _above(messages, message)
    if not answer or not prompt:
        raise ValueError("the rated message has no text, or answers nothing")
    tags = {"model": str(message.get("model") or data.get("model_id") or "unknown")}
    if data.get("reason"):
        tags["reason"] = str(data["reason"])
    body = {
        "input": {"messages": prompt},
        "output": answer,
        "metric_name": "thumbs",
        "value": thumb == 1,
        "tags": tags,
    }
    return body, str(message.get("parentId")), answer


def _messages(entry: Mapping[str, Any]) -> Messages:
    """By their ids. The chat of a snapshot is a row of Open WebUI's table, whose content is a chat, too; older and
    processed exports have one of the two levels less."""
    at = entry.get("snapshot") or {}
    for _ in range(3):
        history = at.get("history")
        if isinstance(history, dict) and isinstance(history.get("messages"), dict | list):
            found = history["messages"]
            named = found.items() if isinstance(found, dict) else [(one.get("id"), one) for one in found if _is(one)]
            return {str(key): one for key, one in named if _is(one)}
        at = at.get("chat")
        if not _is(at):
            break
    return {}


def _is(one: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(one, dict)


def _above(messages: Messages, message: Mapping[str, Any]) -> list[dict[str, str]]:
    """The turns that led to this message, oldest first."""
    turns: list[dict[str, str]] = []
    seen = set()
    at = messages.get(str(message.get("parentId")))
    while at is not None and str(at.get("id")) not in seen:
        seen.add(str(at.get("id")))
        if at.get("role") in ("system", "user", "assistant") and _text(at):
            turns.append({"role": str(at["role"]), "content": _text(at)})
        at = messages.get(str(at.get("parentId")))
    return turns[::-1]


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
