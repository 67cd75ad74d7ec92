"""`edge_es.tune`: evolution strategies on any causal language model with a reward function, in a few lines.

The same turn that the daemon takes, with the same guards and gates, on a journal in memory. What the daemon adds,
probes and rollback among it, is not here: `edge-es serve` has it.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edge_es import batch
from edge_es.answers import Row, Sampling
from edge_es.config import Config
from edge_es.decode import generate
from edge_es.errors import ConfigError, InputError
from edge_es.evaluator import InProcess
from edge_es.export import Origin, Written, export_delta, export_merged, export_peft
from edge_es.feedback import Event
from edge_es.learner import turn
from edge_es.ledger import Journal, MemoryJournal, anchor_row
from edge_es.memory import plan
from edge_es.model import Base, base_of, encode_prompt, load_base
from edge_es.protected import protected_texts
from edge_es.rewards import Messages, Reward, events_of, prompt_of, rewards
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.state import State, Surroundings, resume

Told = Callable[[str], None]
ExportKind = Literal["peft", "merged", "delta"]


@dataclass(frozen=True)
class Tuned:
    """A base with what was learned beside it. The base's weights are as they were.

    config: all settings that it learned by. journal: the rows that every version can be rebuilt from. version: the
    newest, 0 where nothing was published; delta: what it has learned, fp32 on the base's device.
    history: of each attempt {"step", "reward": mean over members and prompts, "reliability", "ties", "version": None
    where a gate refused the step, "reason", "step_norm", "delta_norm": of the step, and of all that was learned}; norms
    are Frobenius norms.
    """

    base: Base
    config: Config
    journal: Journal
    version: int
    delta: Delta
    history: tuple[dict[str, Any], ...]

    def generate(
        self,
        prompts: Sequence[str | Messages],
        max_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        anchor: bool = False,
    ) -> list[str]:
        """An answer a prompt, `max_tokens` tokens at most; temperature 0 is greedy. anchor: as the model was before.
        Raises InputError for what is no prompt, or one that leaves no room in the context; StateError where
        learn.memory_budget holds no answer."""
        weights = Delta() if anchor else self.delta
        rows = [
            Row(
                encode_prompt(self.base, prompt_of(prompt)),
                weights,
                Sampling(max_tokens, temperature, top_p, seed=seed + index),
            )
            for index, prompt in enumerate(prompts)
        ]
        longest = max((len(row.prompt) for row in rows), default=1) + max_tokens
        room = plan(self.base, weights, self.config.learn.memory_budget, noise_bytes=0)
        answers = run(generate(self.base, rows, max_rows=room.answers(self.base, longest, max(1, len(rows)))))
        return [answer.text for answer in answers]

    def save(self, folder: str | Path, kind: ExportKind = "peft") -> Written:
        """Writes an export (docs/export.md). Raises InputError for another kind, StateError where `folder` is taken, or
        the delta is no such thing, OSError where the disk refuses."""
        if kind not in get_args(ExportKind):
            raise InputError(f"kind '{kind}' is none; take one of {', '.join(get_args(ExportKind))}", "kind")
        base, target = self.base, Path(folder)
        origin = Origin(base.ref, base.quantization, base.sha256, self.version, self.delta.sha256)
        if kind == "delta":
            return export_delta(self.journal, self.version, target, origin)
        delta = self.delta.to("cpu")
        return (
            export_merged(base, delta, target, origin) if kind == "merged" else export_peft(base, delta, target, origin)
        )


def tune(
    model: Any = "pocket",
    *,
    prompts: Sequence[str | Messages],
    reward: Reward,
    steps: int = 100,
    columns: Mapping[str, Sequence[Any]] | None = None,
    max_tokens: int = 64,
    best: float | None = None,
    tokenizer: Any = None,
    config: Config | Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Tuned:
    """Learns from what `reward` says of the model's own greedy answers. Guards and gates are on, as in the daemon.

    model: a hub id, a local folder or 'pocket', which is loaded in NF4 unless `config` says otherwise; a `Base`; or a
    loaded causal language model of transformers, with its `tokenizer`.
    prompts: texts, which are continued, or lists of messages, which are chats.
    reward: `f(completions=[...], prompts=[...], **columns) -> list[float]`, TRL's convention; larger is better, any
    finite scale. Called once for many members' answers together; arguments that it does not take are left out.
    steps: attempts; each evaluates search.population members, in learn.groups parts, on learn.batch prompts or more.
    columns: name -> a value a prompt, handed to `reward` for the prompts in question.
    max_tokens: of an answer. best: the reward than which there is no better; steps shorten as prompts reach it.
    config: a `Config`, or sections of one such as {"search": {"population": 32}}.
    progress: show a bar. Ctrl-C ends early, with what is learned by then.

    Raises InputError for wrong prompts, columns or rewards, ConfigError for a wrong setting or a missing tokenizer,
    ModelError where the model cannot be loaded or moved, StateError where learn.memory_budget holds no batch, each with
    one line that names the remedy. What `reward` itself raises comes through.
    """
    graded = rewards(reward, prompts, columns or {})
    settings = _settings(config, model)
    base = _base(model, tokenizer, settings)
    settings = settings.model_copy(update={"learn": settings.learn.model_copy(update={"task_tokens": max_tokens})})
    events = events_of(prompts)
    for event in events:
        encode_prompt(base, event.exchanges[0].prompt, room=max_tokens)
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    budget = settings.learn.memory_budget
    protected = run(protected_texts(base, settings.guards.protect, plan(base, Delta(), budget, noise_bytes=0)))
    full = float("inf") if best is None else best
    evaluator = InProcess(base, protected, budget, grade=graded, full=full)
    around = Surroundings(base, settings, journal, protected, {}, evaluator=evaluator)
    state = resume(journal, base.device)
    rng = random.Random(settings.search.seed)
    with _bar(steps, progress) as told:
        try:
            for number in range(steps):
                drawn = _drawn(state, events, state.batch_size(settings), rng)
                state = run(turn(state, drawn, number == 0, around))
                told(_said(journal))
        except KeyboardInterrupt:
            pass  # a turn that is dropped half-way has left no trace
    history = [row for row in journal.rows() if row.kind == "step"]
    return Tuned(base, settings, journal, state.version, state.delta, tuple(map(_told, history)))


def _settings(config: Config | Mapping[str, Any] | None, model: Any) -> Config:
    from pydantic import ValidationError

    if isinstance(config, Config):
        found = config
    else:
        try:
            found = Config.model_validate(dict(config or {}))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"configuration key {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if isinstance(model, str):
        found = found.model_copy(update={"model": found.model.model_copy(update={"ref": model})})
    if found.search.population % 2:
        raise ConfigError("configuration key search.population: it is odd; members come in pairs")
    return found


def _base(model: Any, tokenizer: Any, config: Config) -> Base:
    if isinstance(model, Base):
        return model
    if isinstance(model, str):
        return load_base(config.model)
    if tokenizer is None:
        raise ConfigError("a model that is loaded already needs its tokenizer: tune(model, tokenizer=...)")
    return base_of(model, tokenizer, config.model.context)


def _drawn(state: State, events: Sequence[Event], count: int, rng: random.Random) -> list[Event]:
    """Those that are not solved yet are drawn more often."""
    chances = [state.chance(event.id, doubting=False) for event in events]
    return [events[i] for i in batch.order(chances, rng)[:count]]


def _told(row: Any) -> dict[str, Any]:
    stats = row.stats
    return {
        "step": row.step,
        "reward": (stats.get("fitness_mean") or {}).get("task"),
        "reliability": stats.get("fitness_reliability"),
        "ties": stats.get("tie_rate"),
        "version": row.version,
        "reason": row.reason,
        "step_norm": stats.get("step_norm"),
        "delta_norm": stats.get("delta_norm"),
    }


def _said(journal: Journal) -> str:
    newest = _told(journal.rows()[-1])
    reward = "-" if newest["reward"] is None else f"{newest['reward']:.3f}"
    return f"reward {reward}" if newest["version"] is not None else f"reward {reward}, step refused"


@contextmanager
def _bar(steps: int, shown: bool) -> Iterator[Told]:
    """A progress bar on a terminal or in a notebook; nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, disable=not shown) as progress:
        task = progress.add_task("the first step finds where to look", total=steps)

        def told(text: str) -> None:
            progress.update(task, advance=1, description=text)

        yield told


__all__ = ["Tuned", "tune"]
