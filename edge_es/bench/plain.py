"""Plain inference: the transformers model called on the same rows, with logits where an answer is predicted."""

from collections.abc import Sequence
from typing import Any

import torch

from edge_es.likelihood import Batch


@torch.inference_mode()
def scores(model: Any, batch: Batch, repeats: int = 1) -> torch.Tensor:
    """Log-likelihood of the answers of `repeats` copies of the batch, (repeats * n,) fp32 on the CPU, nats.

    A common beginning (`batch.shared` tokens) is read once a copy, as learning reads it once a member.
    """
    past, begun = None, 0
    if batch.shared:
        past, begun = _begin(model, batch, repeats), batch.shared
    logits = model(
        input_ids=batch.ids[:, begun:].repeat(repeats, 1),
        past_key_values=past,
        use_cache=past is not None,
        logits_to_keep=batch.columns - begun,
    ).logits.float()
    return answer_scores(logits, batch, repeats).cpu()


def answer_scores(logits: torch.Tensor, batch: Batch, repeats: int = 1) -> torch.Tensor:
    """logits (repeats * n, c, vocabulary) fp32 -> (repeats * n,) on their device, nats."""
    targets, answer = batch.targets.repeat(repeats, 1), batch.answer.repeat(repeats, 1)
    picked = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
    return (picked * answer).sum(1)


@torch.inference_mode()
def answers(model: Any, prompts: Sequence[tuple[int, ...]], new_tokens: int, pad_id: int) -> int:
    """Greedy answers of exactly `new_tokens` tokens by transformers' own `generate`, the prompts padded on the left.
    Returns how many tokens were made."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    made = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        do_sample=False,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=pad_id,
    )
    return int(made.shape[1] - longest) * len(prompts)


def _begin(model: Any, batch: Batch, repeats: int) -> Any:
    begin = batch.ids[:1, : batch.shared].repeat(repeats, 1)
    past = model(input_ids=begin, use_cache=True, logits_to_keep=1).past_key_values
    past.batch_repeat_interleave(len(batch.ids))
    return past
