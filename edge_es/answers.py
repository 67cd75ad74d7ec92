"""One answer as it grows: how its tokens are drawn, when it ends, and what of it may be shown."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from edge_es.model import Base, decode_text
from edge_es.sidechannel import Weights

CONTEXT = 4  # tokens before new ones that are decoded with them


@dataclass(frozen=True)
class Sampling:
    """How one row's tokens are drawn. temperature 0 is greedy. stop: the answer ends before any of these strings.

    top: how many alternatives to report a token; -1 reports no log-probabilities at all. echo: report the prompt's
    tokens, too. max_tokens 0 reads the prompt and says nothing.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    top: int = -1
    echo: bool = False


@dataclass(frozen=True)
class Row:
    """One answer to be made."""

    prompt: tuple[int, ...]
    weights: Weights
    sampling: Sampling


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probability (nats, before temperature) of a drawn token and of the likeliest alternatives."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass
class Answer:
    """A row's answer as it grows. text: what may be shown so far; finish: 'stop' or 'length' once it has ended.

    prompt_logprobs: with `echo`, of the prompt's tokens from the second on, once the prompt is read.
    """

    row: Row
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length"] | None = None
    cancelled: bool = False
    reused: int = 0  # tokens of the prompt that were not read again
    _random: np.random.Generator | None = None
    _shown: int = 0  # tokens whose text is in `text` already
    _context: int = 0  # where the window that they are decoded in begins

    def draw(self) -> float:
        """The row's next uniform number, from its own seed."""
        if self._random is None:
            self._random = np.random.Generator(np.random.Philox(self.row.sampling.seed))
        return float(self._random.random())


def drawn(logits: torch.Tensor, sampling: Sampling, uniform: float) -> int:
    """Inverse-CDF draw from the nucleus of one row's logits (vocabulary,)."""
    probs, order = (logits.double() / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
    before = probs.cumsum(-1) - probs
    probs = probs * (before < sampling.top_p)  # the smallest set that reaches top_p; never empty
    cumulative = probs.cumsum(-1)
    at = int(torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True))
    return int(order[min(at, len(order) - 1)])


def logprobs_of(logits: torch.Tensor, targets: torch.Tensor, top: int) -> list[TokenLogprob]:
    """Of one row's tokens. logits: (tokens, vocabulary) fp32, each before its target; targets: (tokens,) int64."""
    logprobs = logits.log_softmax(-1)
    own = logprobs.gather(-1, targets[:, None])[:, 0].tolist()
    best = logprobs.topk(min(top, logprobs.shape[-1])) if top else None
    ids, values = (best.indices.tolist(), best.values.tolist()) if best is not None else ([()] * len(own),) * 2
    return [
        TokenLogprob(token, value, tuple(zip(some, others, strict=True)))
        for token, value, some, others in zip(targets.tolist(), own, ids, values, strict=True)
    ]


def settle(base: Base, answer: Answer, shows: bool) -> None:
    """Whether the answer has ended with its newest token; extends its text if that is to be shown or has ended."""
    sampling = answer.row.sampling
    if answer.tokens[-1] in base.end_ids:
        answer.finish = "stop"
    elif len(answer.tokens) >= sampling.max_tokens or len(answer.row.prompt) + len(answer.tokens) >= base.context:
        answer.finish = "length"
    if shows or answer.finish is not None or sampling.stop:
        _show(base, answer)


def _show(base: Base, answer: Answer) -> None:
    """Extends `answer.text` by what the newest tokens say for certain, and cuts it at a stop string."""
    before = answer.row.prompt[-CONTEXT:]
    tokens = [*before, *(answer.tokens[:-1] if answer.finish == "stop" else answer.tokens)]
    # A window is decoded rather than the last token alone: a character may span tokens, and some tokenizers
    # drop a leading space; the window's known text is cut off again.
    shown = len(before) + answer._shown
    known = decode_text(base, tokens[answer._context : shown])
    window = decode_text(base, tokens[answer._context :])
    if answer.finish is None and window.endswith("\ufffd"):
        return
    answer.text += window[len(known) :]
    answer._context, answer._shown = max(0, shown - CONTEXT), len(tokens) - len(before)
    for stop in answer.row.sampling.stop:
        at = answer.text.find(stop)
        if at >= 0:
            answer.text, answer.finish = answer.text[:at], "stop"
