"""What is measured of a model: the items of one ability, and one number for how well they go. One class a way of
measuring; all are the same to the rest of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text, score
from edge_es.model import Base
from edge_es.probes import suites as probes
from edge_es.probes.scoring import Encoded, encode, score_suite
from edge_es.slices import run
from edge_es.spaces.delta import Delta


class Measure(NamedTuple):
    """score: what is compared. nats: of the answers that are taught, a token; None where that says nothing more."""

    score: float
    nats: float | None = None


class Suite(Protocol):
    """Items of one kind. texts: their tokens, prompts with answers. lower_is_better: of the score."""

    @property
    def texts(self) -> tuple[Text, ...]: ...

    @property
    def lower_is_better(self) -> bool:
        """Of the score."""
        ...

    def measure(self, base: Base, delta: Delta) -> Measure:
        """Of base and delta together."""
        ...


def retention(suite: Suite, now: float, anchor: float) -> float:
    """The score now over the anchor's; turned round where lower is better. The anchor's is not 0."""
    return anchor / now if suite.lower_is_better else now / anchor


def retentions(base: Base, delta: Delta, priors: Mapping[str, Suite]) -> dict[str, float]:
    """Of every suite, by measuring the anchor beside base and delta."""
    return {
        name: retention(suite, suite.measure(base, delta).score, suite.measure(base, Delta()).score)
        for name, suite in priors.items()
    }


@dataclass(frozen=True)
class Exact:
    """Items with exact answers: the share that greedy decoding answers rightly. texts: of item i those that are right,
    texts[spans[i]]; any one of them will do."""

    texts: tuple[Text, ...]
    spans: tuple[range, ...]
    lower_is_better = False

    def measure(self, base: Base, delta: Delta) -> Measure:
        greedy = run(score(base, delta, self.texts)).greedy.tolist()
        return Measure(sum(any(greedy[i] for i in span) for span in self.spans) / len(self.spans))


def exact(base: Base, rows: Sequence[Mapping[str, Any]], also: str | None = None) -> Exact:
    """Of rows {"prompt", "answer"}. `also`: the answer with this behind it is right, too."""
    texts: list[Text] = []
    spans: list[range] = []
    for row in rows:
        answers = [row["answer"], *([row["answer"] + also] if also else [])]
        spans.append(range(len(texts), len(texts) + len(answers)))
        texts += [text_of(base, Exchange(Prompt.user(row["prompt"]), answer)) for answer in answers]
    return Exact(tuple(texts), tuple(spans))


@dataclass(frozen=True)
class Probed:
    """A suite as the daemon probes it (`probes.scoring`): the mean of its items' scores. Perplexity: nats a token;
    choice: accuracy by likelihood a character; generation: exact match or grade."""

    encoded: Encoded

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.encoded.texts

    @property
    def lower_is_better(self) -> bool:
        return self.encoded.suite.kind in ("perplexity", "kl")

    def measure(self, base: Base, delta: Delta) -> Measure:
        scores = run(score_suite(base, delta, self.encoded)).primary
        return Measure(float(sum(scores)) / len(scores))


def probed(base: Base, name: str, kind: probes.Kind, items: Sequence[probes.Item]) -> Probed:
    """A suite of these items, as the daemon would probe it."""
    return Probed(encode(base, probes.Suite(name, kind, tuple(items))))


def from_file(base: Base, path: Path, items: int | None) -> Probed:
    """A probe file's first `items`; None: all. Raises InputError naming file and line."""
    whole = probes.load_suite(path)
    return probed(base, whole.name, whole.kind, whole.items[:items])


@dataclass(frozen=True)
class Preferred:
    """Pairs: the share of which the chosen answer is the likelier one a token; beside it the nats a token that the
    chosen ones take."""

    chosen: tuple[Text, ...]
    rejected: tuple[Text, ...]
    lower_is_better = False

    @property
    def texts(self) -> tuple[Text, ...]:
        return self.chosen

    def measure(self, base: Base, delta: Delta) -> Measure:
        scores = run(score(base, delta, (*self.chosen, *self.rejected)))
        each = scores.total / scores.tokens
        first, second = each[: len(self.chosen)], each[len(self.chosen) :]
        return Measure(float((first > second).float().mean()), -float(first.mean()))
