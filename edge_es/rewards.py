"""Reward functions as graders of tasks, by TRL's convention: `f(completions, prompts, **columns) -> list[float]`.

A text prompt is continued, and its completion is a text; a prompt of messages is a chat, and its completion is a list
with the assistant's message. What is called is called for all members and items of a population at once.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_es.errors import InputError
from edge_es.feedback import Event, Exchange, Message, Prompt

Messages = Sequence[Mapping[str, str]]
Reward = Callable[..., Sequence[float]]
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Rewards:
    """A reward function over prompts and their columns, which is a `Grade` (`edge_es.evaluator`).

    prompts: as they were given. columns: name -> a value a prompt. takes: the names that the function can be given;
    None: any.
    """

    reward: Reward
    prompts: Sequence[str | Messages]
    columns: Mapping[str, Sequence[Any]]
    takes: frozenset[str] | None

    def __call__(self, tasks: Sequence[Event], answers: Sequence[str]) -> list[float]:
        """A reward an answer. Raises InputError where the function does not return that many numbers."""
        rows = [int(task.id) for task in tasks]
        given: dict[str, Any] = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        given["prompts"] = [self.prompts[row] for row in rows]
        given["completions"] = [
            answer if isinstance(self.prompts[row], str) else [{"role": "assistant", "content": answer}]
            for row, answer in zip(rows, answers, strict=True)
        ]
        found = self.reward(
            **{name: value for name, value in given.items() if self.takes is None or name in self.takes}
        )
        try:
            values = [float(value) for value in found]
        except (TypeError, ValueError) as error:
            raise InputError(f"the reward function must return a list of numbers: {error}", "reward") from None
        if len(values) != len(answers):
            raise InputError(
                f"the reward function returned {len(values)} rewards for {len(answers)} completions", "reward"
            )
        return values


def rewards(reward: Reward, prompts: Sequence[str | Messages], columns: Mapping[str, Sequence[Any]]) -> Rewards:
    """Checks that every column has a value a prompt. Raises InputError that names the wrong one."""
    if not prompts:
        raise InputError("there are no prompts; give one at least", "prompts")
    for name, values in columns.items():
        if name in ("prompts", "completions"):
            raise InputError(f"a column cannot be called '{name}'; the reward function is given its own", name)
        if len(values) != len(prompts):
            raise InputError(f"column '{name}' has {len(values)} values for {len(prompts)} prompts", name)
    parameters = inspect.signature(reward).parameters.values()
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    return Rewards(reward, prompts, columns, None if anything else frozenset(one.name for one in parameters))


def events_of(prompts: Sequence[str | Messages]) -> list[Event]:
    """A task a prompt, whose id is its place. Raises InputError for what is neither a text nor messages."""
    return [Event(str(row), "task", (Exchange(prompt_of(prompt), ""),)) for row, prompt in enumerate(prompts)]


def prompt_of(given: str | Messages) -> Prompt:
    """A text that is continued, or a chat. Raises InputError."""
    if isinstance(given, str):
        return Prompt(text=given)
    try:
        messages = tuple(Message(one["role"], one["content"]) for one in given)  # type: ignore[arg-type]
    except (TypeError, KeyError):
        messages = ()
    if not messages or any(one.role not in ROLES or not isinstance(one.content, str) for one in messages):
        raise InputError(f"{str(given)[:80]!r} is no prompt; give a text, or a list of role and content", "prompts")
    return Prompt(messages)
