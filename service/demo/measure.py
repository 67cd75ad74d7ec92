"""Accuracy and retention, as any client of the API would measure them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from service.cli.address import Daemon
from service.cli.client import connect, request
from service.demo.material import Item, messages

AT_ONCE = 32  # chat requests in flight; the daemon decodes them as one batch


@dataclass(frozen=True)
class Answer:
    """A served answer. `id` is the inference id that a rating names."""

    id: str
    text: str


def ask(daemon: Daemon, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
    """Greedy answers, in the order of the prompts, many requests at once."""
    with connect(daemon) as client:

        def one(prompt: str) -> Answer:
            body = {"model": model, "messages": messages(prompt), "temperature": 0, "max_tokens": max_tokens}
            answer = request(client, "POST", "/v1/chat/completions", body=body)
            return Answer(answer["id"], answer["choices"][0]["message"]["content"])

        model = request(client, "GET", "/v1/models")["data"][0]["id"]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, prompts))


def accuracy(daemon: Daemon, items: Sequence[Item]) -> float:
    """Share of the items answered exactly right, by greedy decoding."""
    longest = max(len(item.answer.encode()) for item in items) + 8
    answers = ask(daemon, [item.prompt for item in items], longest)
    return sum(a.text.strip() == i.answer for a, i in zip(answers, items, strict=True)) / len(items)


@dataclass(frozen=True)
class Round:
    """One probe round: the retention of each generative prior suite, and the suites that were dropped."""

    version: int
    retention: Mapping[str, float]
    dropped: tuple[str, ...]

    @property
    def worst(self) -> float:
        """The lowest retention; suites are never averaged into each other."""
        return min(self.retention.values())


def rounds(rows: Sequence[Mapping[str, Any]]) -> list[Round]:
    """The rows of /v1/retention as rounds, in the order they were run, if they hold such a suite."""
    grouped: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["at"], row["version"]), []).append(row)
    found = []
    for (_, version), group in sorted(grouped.items()):
        kept = {row["suite"]: float(row["retention"]) for row in group if _is_prior(row)}
        dropped = tuple(row["suite"] for row in group if row["verdict"] == "dropped")
        if kept:
            found.append(Round(version, kept, dropped))
    return found


def _is_prior(row: Mapping[str, Any]) -> bool:
    learned = row["suite"].startswith("learned-")
    return row["kind"] == "generation" and not learned and row["retention"] is not None
