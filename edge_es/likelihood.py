"""Log-likelihood of answers under any version or member: one forward pass, logits only where an answer is predicted.

Rows are padded on the right, so under a causal mask padding is never seen and no attention mask is needed. What all
texts of a batch begin with (a system prompt, a template, a wording) is read once for each member, not once a row.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from edge_es.halving import halving, in_two
from edge_es.model import Base
from edge_es.sidechannel import MixedRows, PopulationRows, Rows
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta
from edge_es.spread import first_layer, spreading

SHARED_LEAST = 8  # common tokens from which reading them apart pays


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt (not empty) and of the answer that follows it; only the answer is scored."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class AnswerScores:
    """One entry a row, on the CPU.

    total: log-likelihood of the answer in nats, fp32. tokens: tokens in the answer, int64. greedy: bool, every
    answer token is the argmax, so that greedy decoding gives exactly this answer.
    """

    total: torch.Tensor
    tokens: torch.Tensor
    greedy: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Texts as tensors on the device: ids (n, seq); columns (c,) positions whose logits are kept; targets (n, c) the
    token each of them predicts; answer (n, c) bool, where that token belongs to the answer. shared: how many tokens
    all texts begin with, none of them with logits; 0 where reading them apart would not pay."""

    ids: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    answer: torch.Tensor
    shared: int = 0


def collate(base: Base, texts: Sequence[Text]) -> Batch:
    """Pads on the right. Texts of similar length keep it lean."""
    length = max(len(text) for text in texts)
    ids = torch.full((len(texts), length), base.pad_id)
    answer = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text.prompt + text.answer)
        answer[row, len(text.prompt) : len(text)] = True
    columns = answer.any(0).nonzero().flatten()  # of the answer tokens; their logits stand one to the left
    if not len(columns):
        columns = torch.tensor([length - 1])
    common = int((ids == ids[0]).all(0).long().cumprod(0).sum())
    shared = min(common, int(columns[0]) - 1) if len(texts) > 1 else 0
    device = base.device
    return Batch(
        ids.to(device),
        (columns - 1).to(device),
        ids[:, columns].to(device),
        answer[:, columns].to(device),
        shared if shared >= max(SHARED_LEAST, length // 4) else 0,
    )


def batches(texts: Sequence[Text], max_tokens: int) -> list[list[int]]:
    """Indices of `texts` in groups of similar length, each of at most `max_tokens` padded tokens (or one text)."""
    groups: list[list[int]] = []
    for index in sorted(range(len(texts)), key=lambda i: len(texts[i])):
        if groups and (len(groups[-1]) + 1) * len(texts[index]) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def padded(texts: Sequence[Text], group: Sequence[int]) -> int:
    """Tokens of these texts in one batch, padding included."""
    return len(group) * max(len(texts[i]) for i in group)


@torch.inference_mode()
def answer_logits(base: Base, batch: Batch, rows: Rows | None, repeats: int = 1) -> torch.Tensor:
    """Logits at the kept columns, (repeats * n, c, vocabulary) fp32; the whole batch stands `repeats` times.

    `rows` None is the anchor.
    """
    at = None
    if isinstance(rows, PopulationRows) and repeats > 1:
        at = first_layer(base.model, rows.population.basis.slots)
    with base.channel.using(rows) if rows is not None else nullcontext():
        past = _read_shared(base, batch, repeats, at) if isinstance(rows, PopulationRows) else None
        begun = batch.shared if past is not None else 0
        logits = _forward(
            base,
            batch.ids[:, begun:],
            repeats,
            at,
            past_key_values=past,
            use_cache=past is not None,
            logits_to_keep=batch.columns - begun,
        ).logits
    result: torch.Tensor = logits.float()
    return result


def _forward(base: Base, ids: torch.Tensor, repeats: int, at: tuple[str, int] | None, **options: Any) -> Any:
    """The model on `repeats` copies of these rows, member by member; layers before `at` run on one copy."""
    if at is None:
        return base.model(input_ids=ids.repeat(repeats, 1), **options)
    with spreading(base.model, at, len(ids), repeats):
        return base.model(input_ids=ids, **options)


def _read_shared(base: Base, batch: Batch, repeats: int, at: tuple[str, int] | None) -> Any:
    """Keys and values of the texts' common beginning, one row a member, spread to the members' texts; None where
    there is no such beginning or the model keeps something else than keys and values."""
    from transformers import DynamicCache

    if not batch.shared:
        return None
    past = _forward(base, batch.ids[:1, : batch.shared], repeats, at, use_cache=True, logits_to_keep=1).past_key_values
    if type(past) is not DynamicCache or not all(hasattr(layer, "batch_repeat_interleave") for layer in past.layers):
        return None
    past.batch_repeat_interleave(len(batch.ids))
    return past


@torch.inference_mode()
def score_batch(base: Base, batch: Batch, rows: Rows | None, repeats: int = 1) -> AnswerScores:
    """Scores of `repeats` copies of the batch, (repeats * n,) each."""
    logits = answer_logits(base, batch, rows, repeats)
    targets, answer = batch.targets.repeat(repeats, 1), batch.answer.repeat(repeats, 1)
    picked = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
    right = (logits.argmax(-1) == targets) | ~answer
    return AnswerScores((picked * answer).sum(1).cpu(), answer.sum(1).cpu(), right.all(1).cpu())


def same_weights(base: Base, delta: Delta, rows: int) -> Rows | None:
    """All rows answered by one version."""
    return MixedRows([delta] * rows, base.device) if delta.parts else None


def score(base: Base, delta: Delta, texts: Sequence[Text], max_tokens: int = 16384) -> Slices[AnswerScores]:
    """Scores of every text under one version, in the order of `texts`; yields between batches."""
    total, tokens = torch.zeros(len(texts)), torch.zeros(len(texts), dtype=torch.int64)
    greedy = torch.zeros(len(texts), dtype=torch.bool)

    def work(group: list[int]) -> None:
        batch = collate(base, [texts[i] for i in group])
        some = score_batch(base, batch, same_weights(base, delta, len(group)))
        total[group], tokens[group], greedy[group] = some.total, some.tokens, some.greedy

    pieces = batches(texts, min(max_tokens, base.costs.reading.tokens() or max_tokens))
    yield from halving(base.costs, pieces, work, in_two, lambda group: padded(texts, group))
    return AnswerScores(total, tokens, greedy)


@torch.inference_mode()
def kl_batch(base: Base, batch: Batch, rows: Rows | None, repeats: int = 1) -> torch.Tensor:
    """Mean KL(anchor || rows' weights) a token over the answer, nats, (repeats * n,) fp32 on the CPU."""
    anchor = answer_logits(base, batch, None).log_softmax(-1)  # (n, c, vocabulary)
    other = answer_logits(base, batch, rows, repeats).log_softmax(-1).unflatten(0, (repeats, -1))
    each = (anchor.exp() * (anchor - other)).sum(-1)  # (repeats, n, c)
    mean = (each * batch.answer).sum(-1) / batch.answer.sum(-1).clamp(min=1)
    return mean.flatten().cpu()


def kl(base: Base, delta: Delta, texts: Sequence[Text], max_tokens: int = 4096) -> Slices[torch.Tensor]:
    """KL from the anchor of one version, mean a token over each text's answer, nats, (len(texts),) fp32."""
    result = torch.zeros(len(texts))

    def work(group: list[int]) -> None:
        batch = collate(base, [texts[i] for i in group])
        result[group] = kl_batch(base, batch, same_weights(base, delta, len(group)))

    def read(group: list[int]) -> int:
        return 2 * padded(texts, group)  # under the anchor, too

    pieces = batches(texts, min(max_tokens, (base.costs.reading.tokens() or 2 * max_tokens) // 2))
    yield from halving(base.costs, pieces, work, in_two, read)
    return result
