"""Batched decoding in which every row is its own: version or member, prompt, position, sampling, stop rule.

Rows join and leave between any two tokens. Keys and values are kept per row, left-padded to the longest row, and
belong to the row's weights: they are never shared between rows, so no version ever reads another's cache.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from edge_es.answers import Answer, Row, TokenLogprob, drawn, logprobs_of, settle
from edge_es.cache import KeysValues, chosen, columns_of, growing, pad_left, stacked
from edge_es.meter import out_of_memory
from edge_es.model import Base
from edge_es.prefixes import Prefixes
from edge_es.sidechannel import MixedRows
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

ECHOED = 2**24  # logits of a prompt that are looked at together: 64 MiB


@dataclass
class Reading:
    """Prompts that are read together, some columns at a time.

    rows: (answers,) which row of the batch each one's prompt is; equal prompts under the same weights share a row.
    ids: (rows, seq) what was not read before, padded on the left. mask: (rows, past + seq). at: columns read so far.
    echoed: of each row, its tokens so far, where an answer wants to know of the prompt's; else empty.
    """

    answers: list[Answer]
    rows: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    weights: MixedRows
    cache: KeysValues
    at: int = 0
    echoed: list[list[TokenLogprob]] = field(default_factory=list)


class Decoder:
    """The rows that are being decoded together on one base. shows: answers' texts grow with their tokens; without, a
    text is there when its answer has ended, or where stop strings are looked for. prefixes: what was read before, for
    prompts that begin alike."""

    def __init__(self, base: Base, shows: bool = True, prefixes: Prefixes | None = None) -> None:
        self.base, self.shows, self.prefixes = base, shows, prefixes
        self.answers: list[Answer] = []
        self.readings: deque[Reading] = deque()
        self._cache: KeysValues = []
        self._mask = torch.zeros(0, 0, dtype=torch.int64, device=base.device)  # (rows, seq), 0 is padding
        self._rows: MixedRows | None = None

    def admit(self, rows: Sequence[Row]) -> list[Answer]:
        """Reads the prompts in one pass and draws each row's first token. Rows of very different lengths pad."""
        joined = self.begin(rows)
        if joined:
            self.readings.rotate(1)
            self.read()
        return joined

    def begin(self, rows: Sequence[Row]) -> list[Answer]:
        """Answers that join when `read` has read their prompts to the end."""
        joined = [Answer(row) for row in rows]
        if not joined:
            return joined
        seen: dict[tuple[int, tuple[int, ...], bool], int] = {}
        places = [seen.setdefault((id(row.weights), row.prompt, row.sampling.echo), len(seen)) for row in rows]
        unique = [rows[places.index(at)] for at in range(len(seen))]
        known = [self._find(row) for row in unique]
        for answer, place in zip(joined, places, strict=True):
            answer.reused = known[place][0]
        rest = [row.prompt[length:] for row, (length, _) in zip(unique, known, strict=True)]
        past, length = max(length for length, _ in known), max(map(len, rest))
        ids = torch.full((len(rest), length), self.base.pad_id)
        mask = torch.zeros(len(rest), past + length, dtype=torch.int64)
        for i, tokens in enumerate(rest):
            ids[i, length - len(tokens) :] = torch.tensor(tokens)
            mask[i, past - known[i][0] : past] = 1
            mask[i, past + length - len(tokens) :] = 1
        device = self.base.device
        weights = MixedRows([row.weights for row in unique], device)
        cache = self._known(known) if past else []
        reading = Reading(joined, torch.tensor(places, device=device), ids.to(device), mask.to(device), weights, cache)
        if any(row.sampling.echo for row in unique):
            reading.echoed = [[] for _ in unique]
        self.readings.append(reading)
        return joined

    def read(self, most: int | None = None) -> int:
        """Reads at most so many tokens (at least one of each prompt) of the prompts whose turn it is; where they end,
        their answers draw a first token and join. Returns how many tokens that were, padding included. Where it raises,
        as for want of memory, it may be called again."""
        self.readings = deque(one for one in self.readings if not all(a.cancelled for a in one.answers))
        if not self.readings:
            return 0
        reading = self.readings[0]
        rows, rest = reading.ids.shape
        if reading.echoed:
            most = min(most or rows * rest, ECHOED // self.base.vocabulary)
        end = rest if most is None else min(rest, reading.at + max(1, most // rows))
        mask = reading.mask[:, : reading.mask.shape[1] - rest + end]
        ids = reading.ids[:, reading.at : end]
        every, cache = self._forward(ids, mask, reading.cache, reading.weights, last=not reading.echoed)
        told = _echoes(reading, every, end)
        read = rows * (end - reading.at)
        if end < rest:
            reading.cache, reading.at = cache, end
            _keep_echoes(reading, told)
            self.readings.rotate(-1)
            return read
        self._join(replace(reading, cache=cache))
        self.readings.popleft()
        _keep_echoes(reading, told)
        for answer, row in zip(reading.answers, reading.rows.tolist() if reading.echoed else (), strict=False):
            if answer.row.sampling.echo:
                answer.prompt_logprobs = reading.echoed[row]
        self._take(reading.answers, every[:, -1][reading.rows])
        self._drop_finished()
        return read

    def step(self) -> list[Answer]:
        """One more token for every row; returns the rows that took one. Finished and cancelled rows leave. Where it
        raises, as for want of memory, it may be called again."""
        self._drop_finished()
        if not self.answers:
            return []
        moved = list(self.answers)
        last = torch.tensor([[answer.tokens[-1]] for answer in moved], device=self.base.device)
        mask = torch.cat([self._mask, torch.ones_like(last)], 1)
        if self._rows is None:
            self._rows = MixedRows([answer.row.weights for answer in moved], self.base.device)
        logits, self._cache = self._forward(last, mask, self._cache, self._rows)
        self._mask = mask
        self._take(moved, logits[:, -1])
        self._drop_finished()
        return moved

    @torch.inference_mode()
    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        cache: KeysValues,
        rows: MixedRows,
        last: bool = True,
    ) -> tuple[torch.Tensor, KeysValues]:
        """Logits (rows, columns, vocabulary) fp32 of the last column or of all, and the grown cache."""
        past = growing(cache)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self.base.channel.using(rows):
            out = self.base.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1 if last else 0,  # 0: all
            )
        return out.logits.float(), [(layer.keys, layer.values) for layer in past.layers]

    def _find(self, row: Row) -> tuple[int, KeysValues]:
        """What was read before of this row's prompt; nothing where it is read for its own sake."""
        return self.prefixes.find(row.weights, row.prompt) if self.prefixes and not row.sampling.echo else (0, [])

    def _known(self, known: Sequence[tuple[int, KeysValues]]) -> KeysValues:
        """What was read before of each row, side by side; rows without it are all padding."""
        some = next(cache for _, cache in known if cache)
        empty = [(k[:, :, :0], v[:, :, :0]) for k, v in some]
        return stacked([cache or empty for _, cache in known])

    def _join(self, reading: Reading) -> None:
        """Puts new rows below the old ones, the shorter side padded on the left."""
        cache, mask = reading.cache, reading.mask
        if len(reading.answers) > len(mask):
            cache, mask = chosen(cache, reading.rows), mask[reading.rows]
        if self.answers:
            length = max(self._mask.shape[1], mask.shape[1])
            cache = stacked([self._cache, cache])
            mask = torch.cat([pad_left(self._mask, length, 1), pad_left(mask, length, 1)])
        self.answers, self._cache, self._mask, self._rows = [*self.answers, *reading.answers], cache, mask, None

    def _take(self, answers: list[Answer], logits: torch.Tensor) -> None:
        """Draws a token for each answer from its row of `logits` and settles whether it has ended."""
        tokens = logits.argmax(-1).tolist()
        logprobs = logits.log_softmax(-1) if any(a.row.sampling.top >= 0 for a in answers) else None
        for i, answer in enumerate(answers):
            sampling = answer.row.sampling
            if sampling.max_tokens == 0:
                answer.finish = "length"
                continue
            if sampling.temperature > 0:
                tokens[i] = drawn(logits[i], sampling, answer.draw())
            answer.tokens.append(tokens[i])
            if logprobs is not None and sampling.top >= 0:
                best = logprobs[i].topk(min(sampling.top, logprobs.shape[-1])) if sampling.top else None
                top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ()
                answer.logprobs.append(TokenLogprob(tokens[i], float(logprobs[i, tokens[i]]), top))
            settle(self.base, answer, self.shows)

    def _drop_finished(self) -> None:
        keep = [i for i, answer in enumerate(self.answers) if answer.finish is None and not answer.cancelled]
        if len(keep) == len(self.answers):
            return
        self._remember()
        self._rows = None
        self.answers = [self.answers[i] for i in keep]
        if not keep:
            self._cache, self._mask = [], self._mask[:0, :0]
            return
        index = torch.tensor(keep, device=self.base.device)
        mask = self._mask[index]
        first = int(mask.argmax(1).min())  # padding that no row needs any more goes too
        self._mask, self._cache = mask[:, first:], chosen(self._cache, index, first)

    def _remember(self) -> None:
        """Keeps what was read and said in the rows that have ended. A member's are of no use: it answers once; nor are
        those of prompts that were read for their own sake, which nobody goes on with."""
        for i, answer in enumerate(self.answers):
            ended = answer.finish is not None and not answer.row.sampling.echo
            if self.prefixes is not None and ended and isinstance(answer.row.weights, Delta):
                tokens = (*answer.row.prompt, *answer.tokens[:-1])  # the last one was never read
                cache = columns_of(self._cache, i, self._mask[i].bool())
                self.prefixes.keep(answer.row.weights, tokens, cache)


def _echoes(reading: Reading, logits: torch.Tensor, end: int) -> list[list[TokenLogprob]]:
    """Of each row, the log-probabilities of the tokens behind the columns of these logits, (rows, columns, vocabulary);
    empty where nobody asked."""
    past = reading.mask.shape[1] - reading.ids.shape[1]
    till = min(end + 1, reading.ids.shape[1])  # the last token of all predicts nothing that was asked
    told: list[list[TokenLogprob]] = [[] for _ in reading.echoed]
    for row in range(len(told)):
        first = reading.ids.shape[1] - int(reading.mask[row, past:].sum())  # the row's own first token
        begin = max(reading.at, first)
        if begin + 1 < till:
            targets = reading.ids[row, begin + 1 : till]
            top = max(answer.row.sampling.top for answer in reading.answers)
            told[row] = logprobs_of(logits[row, begin - reading.at : till - 1 - reading.at], targets, max(0, top))
    return told


def _keep_echoes(reading: Reading, told: Sequence[list[TokenLogprob]]) -> None:
    for echoed, some in zip(reading.echoed, told, strict=True):
        echoed += some


def generate(base: Base, rows: Sequence[Row], max_rows: int = 256) -> Slices[list[Answer]]:
    """All answers, in the order of `rows`, at most `max_rows` at a time; yields after every token.

    Where memory runs out, the answers in the making are begun again, half as many at a time; a single one that does
    not fit raises what it raised.
    """
    decoder = Decoder(base, shows=False)
    answers = [Answer(row) for row in rows]
    waiting = list(range(len(rows)))
    while waiting or decoder.answers:
        most = min(max_rows, base.costs.decoding.tokens() or max_rows)
        free = most - len(decoder.answers)
        tried = len(decoder.answers)
        began = time.perf_counter()
        try:
            # Prompts are read in large groups, not one by one as rows leave.
            if waiting and free >= max(1, most // 4):
                joining = _together(base, rows, waiting[:free])
                tried += len(joining)
                for i, answer in zip(joining, decoder.admit([rows[i] for i in joining]), strict=True):
                    answers[i] = answer
                del waiting[: len(joining)]
            else:
                moved = decoder.step()
                base.costs.decoding.took(len(moved), time.perf_counter() - began)
        except RuntimeError as error:
            if not out_of_memory(error) or tried < 2:
                raise
            base.costs.halve()
            max_rows = tried // 2
            decoder = Decoder(base, shows=False)
            waiting = [i for i, answer in enumerate(answers) if answer.finish is None]
        yield
    return answers


def _together(base: Base, rows: Sequence[Row], waiting: Sequence[int]) -> Sequence[int]:
    """The first of those that wait whose prompts are read in one slice; one at least."""
    most, longest = base.costs.reading.tokens(), 0
    for count, i in enumerate(waiting, 1):
        longest = max(longest, len(rows[i].prompt))
        if most is not None and count * longest > most:
            return waiting[: max(1, count - 1)]
    return waiting
