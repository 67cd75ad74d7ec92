"""Batched decoding in which every row is its own: version or member, prompt, position, sampling, stop rule.

Rows join and leave between any two tokens. Keys and values are kept per row, left-padded to the longest row, and
belong to the row's weights: they are never shared between rows, so no version ever reads another's cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from edge_es.meter import out_of_memory
from edge_es.model import Base, decode_text
from edge_es.sidechannel import MixedRows, Weights
from edge_es.slices import Slices

CONTEXT = 4  # tokens before new ones that are decoded with them


@dataclass(frozen=True)
class Sampling:
    """How one row's tokens are drawn. temperature 0 is greedy. stop: the answer ends before any of these strings.

    top: how many alternatives to report a token; -1 reports no log-probabilities at all.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    top: int = -1


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
    """A row's answer as it grows. text: what may be shown so far; finish: 'stop' or 'length' once it has ended."""

    row: Row
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    text: str = ""
    finish: Literal["stop", "length"] | None = None
    cancelled: bool = False
    _random: np.random.Generator | None = None
    _shown: int = 0  # tokens whose text is in `text` already
    _context: int = 0  # where the window that they are decoded in begins

    def draw(self) -> float:
        """The row's next uniform number, from its own seed."""
        if self._random is None:
            self._random = np.random.Generator(np.random.Philox(self.row.sampling.seed))
        return float(self._random.random())


class Decoder:
    """The rows that are being decoded together on one base. shows: answers' texts grow with their tokens; without, a
    text is there when its answer has ended, or where stop strings are looked for."""

    def __init__(self, base: Base, shows: bool = True) -> None:
        self.base, self.shows = base, shows
        self.answers: list[Answer] = []
        self._cache: list[tuple[torch.Tensor, torch.Tensor]] = []  # per layer (rows, heads, seq, head size)
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=base.device)  # (rows, seq), 0 is padding
        self._rows: MixedRows | None = None

    def admit(self, rows: Sequence[Row]) -> list[Answer]:
        """Reads the prompts in one pass and draws each row's first token. Rows of very different lengths pad."""
        joined = [Answer(row) for row in rows]
        if not joined:
            return joined
        length = max(len(row.prompt) for row in rows)
        ids = torch.full((len(rows), length), self.base.pad_id)
        mask = torch.zeros(len(rows), length, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, length - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, length - len(row.prompt) :] = 1
        ids, mask = ids.to(self.base.device), mask.to(self.base.device)
        logits, cache = self._forward(ids, mask, None, MixedRows([r.weights for r in rows], self.base.device))
        self._merge(joined, cache, mask)
        self._take(joined, logits)
        self._drop_finished()
        return joined

    def step(self) -> list[Answer]:
        """One more token for every row; returns the rows that took one. Finished and cancelled rows leave."""
        self._drop_finished()
        if not self.answers:
            return []
        moved = list(self.answers)
        last = torch.tensor([[answer.tokens[-1]] for answer in moved], device=self.base.device)
        self._mask = torch.cat([self._mask, torch.ones_like(last)], 1)
        if self._rows is None:
            self._rows = MixedRows([answer.row.weights for answer in moved], self.base.device)
        logits, self._cache = self._forward(last, self._mask, self._cache, self._rows)
        self._take(moved, logits)
        self._drop_finished()
        return moved

    @torch.inference_mode()
    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        cache: list[tuple[torch.Tensor, torch.Tensor]] | None,
        rows: MixedRows,
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Logits of the last position (rows, vocabulary) fp32, and the grown cache."""
        from transformers import DynamicCache

        past = DynamicCache()
        for layer, (keys, values) in enumerate(cache or []):
            past.update(keys, values, layer)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self.base.channel.using(rows):
            out = self.base.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
        return out.logits[:, -1].float(), [(layer.keys, layer.values) for layer in past.layers]

    def _merge(self, joined: list[Answer], cache: list[tuple[torch.Tensor, torch.Tensor]], mask: torch.Tensor) -> None:
        """Puts new rows below the old ones, the shorter side padded on the left."""
        if self.answers:
            length = max(self._mask.shape[1], mask.shape[1])
            cache = [
                (_stack(ok, nk, length), _stack(ov, nv, length))
                for (ok, ov), (nk, nv) in zip(self._cache, cache, strict=True)
            ]
            mask = torch.cat([_pad_left(self._mask, length, 1), _pad_left(mask, length, 1)])
        self.answers, self._cache, self._mask, self._rows = [*self.answers, *joined], cache, mask, None

    def _take(self, answers: list[Answer], logits: torch.Tensor) -> None:
        """Draws a token for each answer from its row of `logits` and settles whether it has ended."""
        tokens = logits.argmax(-1).tolist()
        logprobs = logits.log_softmax(-1) if any(a.row.sampling.top >= 0 for a in answers) else None
        for i, answer in enumerate(answers):
            sampling = answer.row.sampling
            if sampling.temperature > 0:
                tokens[i] = _sample(logits[i], sampling, answer.draw())
            answer.tokens.append(tokens[i])
            if logprobs is not None and sampling.top >= 0:
                best = logprobs[i].topk(min(sampling.top, logprobs.shape[-1])) if sampling.top else None
                top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ()
                answer.logprobs.append(TokenLogprob(tokens[i], float(logprobs[i, tokens[i]]), top))
            self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        sampling = answer.row.sampling
        if answer.tokens[-1] in self.base.end_ids:
            answer.finish = "stop"
        elif len(answer.tokens) >= sampling.max_tokens or (
            len(answer.row.prompt) + len(answer.tokens) >= self.base.context
        ):
            answer.finish = "length"
        if self.shows or answer.finish is not None or sampling.stop:
            self._show(answer)

    def _show(self, answer: Answer) -> None:
        """Extends `answer.text` by what the newest tokens say for certain, and cuts it at a stop string."""
        before = answer.row.prompt[-CONTEXT:]
        tokens = [*before, *(answer.tokens[:-1] if answer.finish == "stop" else answer.tokens)]
        # A window is decoded rather than the last token alone: a character may span tokens, and some tokenizers
        # drop a leading space; the window's known text is cut off again.
        shown = len(before) + answer._shown
        known = decode_text(self.base, tokens[answer._context : shown])
        window = decode_text(self.base, tokens[answer._context :])
        if answer.finish is None and window.endswith("�"):
            return
        answer.text += window[len(known) :]
        answer._context, answer._shown = max(0, shown - CONTEXT), len(tokens) - len(before)
        for stop in answer.row.sampling.stop:
            at = answer.text.find(stop)
            if at >= 0:
                answer.text, answer.finish = answer.text[:at], "stop"

    def _drop_finished(self) -> None:
        keep = [i for i, answer in enumerate(self.answers) if answer.finish is None and not answer.cancelled]
        if len(keep) == len(self.answers):
            return
        self._rows = None
        self.answers = [self.answers[i] for i in keep]
        if not keep:
            self._cache, self._mask = [], self._mask[:0, :0]
            return
        index = torch.tensor(keep, device=self.base.device)
        mask = self._mask[index]
        first = int(mask.argmax(1).min())  # padding that no row needs any more goes too
        self._mask = mask[:, first:]
        self._cache = [(k[index, :, first:], v[index, :, first:]) for k, v in self._cache]


def _stack(old: torch.Tensor, new: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([_pad_left(old, length, 2), _pad_left(new, length, 2)])


def _pad_left(tensor: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim)


def _sample(logits: torch.Tensor, sampling: Sampling, uniform: float) -> int:
    """Inverse-CDF draw from the nucleus of one row's logits (vocabulary,)."""
    probs, order = (logits.double() / sampling.temperature).softmax(-1).sort(descending=True, stable=True)
    before = probs.cumsum(-1) - probs
    probs = probs * (before < sampling.top_p)  # the smallest set that reaches top_p; never empty
    cumulative = probs.cumsum(-1)
    at = int(torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True))
    return int(order[min(at, len(order) - 1)])


def generate(base: Base, rows: Sequence[Row], max_rows: int = 256) -> Slices[list[Answer]]:
    """All answers, in the order of `rows`, at most `max_rows` at a time; yields after every token.

    Where memory runs out, the answers in the making are begun again, half as many at a time; a single one that does
    not fit raises what it raised.
    """
    decoder = Decoder(base, shows=False)
    answers = [Answer(row) for row in rows]
    waiting = list(range(len(rows)))
    while waiting or decoder.answers:
        free = max_rows - len(decoder.answers)
        tried = len(decoder.answers)
        try:
            # Prompts are read in large groups, not one by one as rows leave.
            if waiting and free >= max(1, max_rows // 4):
                joining = waiting[:free]
                tried += len(joining)
                for i, answer in zip(joining, decoder.admit([rows[i] for i in joining]), strict=True):
                    answers[i] = answer
                del waiting[:free]
            else:
                decoder.step()
        except RuntimeError as error:
            if not out_of_memory(error) or tried < 2:
                raise
            base.costs.halve()
            max_rows = tried // 2
            decoder = Decoder(base, shows=False)
            waiting = [i for i, answer in enumerate(answers) if answer.finish is None]
        yield
    return answers
