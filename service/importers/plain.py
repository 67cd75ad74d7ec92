"""Plain tables: JSON Lines or CSV with columns of one's own naming.

| columns | an event |
| --- | --- |
| prompt, answer | demonstration |
| prompt, chosen, rejected | preference |
| prompt, answer, rating | rating of the answer: true, false, up, down, 1, -1 or a number from -1 to 1 |
| inference_id or episode_id, with rating, comment, answer (the better one) or chosen and rejected | the same, of what \
was served |
| prompt, comment | comment |

`messages` (a list of role and content, in CSV as JSON) may stand for prompt. `metric` names another metric than thumbs
and rating, of whose type the rating is then read; `source` a tag, `id` a UUID of one's own. In a JSON Lines file, lines
that are bodies of `POST /v1/feedback` already are left as they are.
"""

import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from service.importers import Metrics, Row, records

COLUMNS = frozenset(
    {
        "id",
        "prompt",
        "messages",
        "answer",
        "chosen",
        "rejected",
        "rating",
        "comment",
        "metric",
        "source",
        "inference_id",
        "episode_id",
    }
)
UP, DOWN = frozenset({"true", "up", "yes", "good", "+1", "1"}), frozenset({"false", "down", "no", "bad", "-1"})


def read(text: str, metrics: Metrics = MappingProxyType({})) -> Iterator[Row]:
    """The rows of a table. metrics: those that the daemon has."""
    for number, row in records(text):
        if not isinstance(row, dict):
            yield Row(number, refusal=str(row) if isinstance(row, ValueError) else "a line is a JSON object")
        elif "metric_name" in row or "grader" in row:
            yield Row(number, row)
        else:
            try:
                yield Row(number, _body({key: one for key, one in row.items() if one not in (None, "")}, metrics))
            except ValueError as error:
                yield Row(number, refusal=str(error))


def _body(row: Mapping[str, Any], metrics: Metrics) -> dict[str, Any]:
    unknown = sorted(set(row) - COLUMNS)
    if unknown:
        raise ValueError(f"there is no column '{unknown[0]}'; known are {', '.join(sorted(COLUMNS))}")
    told: dict[str, Any] = {"tags": {"source": str(row["source"])}} if "source" in row else {}
    if "id" in row:
        told["id"] = row["id"]
    target = _target(row)
    if "rating" in row:
        metric, value = _rating(row["rating"], metrics.get(str(row.get("metric"))))
        output = {"output": row["answer"]} if "input" in target and "answer" in row else {}
        if "input" in target and not output:
            raise ValueError("a rating needs the rated `answer`, or an inference_id")
        return {**told, **target, **output, "metric_name": row.get("metric", metric), "value": value}
    if "chosen" in row or "rejected" in row:
        if not ("chosen" in row and "rejected" in row):
            raise ValueError("a preference has both `chosen` and `rejected`")
        pair = {"chosen": row["chosen"], "rejected": row["rejected"]}
        return {**told, **target, "metric_name": "preference", "value": pair}
    if "comment" in row:
        return {**told, **target, "metric_name": "comment", "value": row["comment"]}
    if "answer" in row:
        return {**told, **target, "metric_name": "demonstration", "value": row["answer"]}
    raise ValueError("nothing is said: give `answer`, `rating`, `chosen` and `rejected`, or `comment`")


def _target(row: Mapping[str, Any]) -> dict[str, Any]:
    given = [key for key in ("prompt", "messages", "inference_id", "episode_id") if key in row]
    if len(given) != 1:
        raise ValueError("give exactly one of `prompt`, `messages`, `inference_id` and `episode_id`")
    (key,) = given
    if key == "prompt":
        return {"input": {"messages": [{"role": "user", "content": row["prompt"]}]}}
    if key != "messages":
        return {key: row[key]}
    messages = row["messages"]
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except json.JSONDecodeError:
            raise ValueError("`messages` is no JSON list of role and content") from None
    return {"input": {"messages": messages}}


def _rating(value: Any, kind: str | None) -> tuple[str, bool | float]:
    """(thumbs or rating, value). kind: of the metric that is named; None: as the value looks."""
    if isinstance(value, bool):
        return "thumbs", value
    word = str(value).strip().lower()
    if kind != "float" and word in UP | DOWN:
        return "thumbs", word in UP
    if kind == "boolean" and word == "0":
        return "thumbs", False
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"rating '{word[:40]}' is neither a number nor true or false")
    return "rating", number
