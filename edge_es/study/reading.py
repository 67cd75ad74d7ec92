"""Which of many short items a version answers rightly, quickly: what items begin with is read once for all of them.

The answers are those of `likelihood.score`. Measurements over thousands of items take half as long, since most of a
short item is its wording.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch

from edge_es.likelihood import Batch, Text, batches, collate, same_weights
from edge_es.model import Base
from edge_es.spaces.delta import Delta

MAX_TOKENS = 1536  # a batch; larger ones leave the caches of a processor
FEWEST = 48  # items for which a beginning of their own is worth a batch of their own
SHARE = 0.2  # of a group that goes on alike: a wording; letters of words are spread wider


def greedy(base: Base, delta: Delta, texts: Sequence[Text]) -> list[bool]:
    """For each text: greedy decoding under this version gives exactly its answer and ends."""
    found = [False] * len(texts)
    for group in groups(texts):
        for some in batches([texts[i] for i in group], MAX_TOKENS):
            own = [group[i] for i in some]
            for index, right in zip(own, _read(base, delta, collate(base, [texts[i] for i in own])), strict=True):
                found[index] = right
    return found


def groups(texts: Sequence[Text]) -> list[list[int]]:
    """Indices of texts that begin alike: by the wordings that many have, whatever those are."""
    return _split(texts, list(range(len(texts))), 0)


def _split(texts: Sequence[Text], group: list[int], at: int) -> list[list[int]]:
    """`at`: tokens that all of the group begin with."""
    ways: dict[int, list[int]] = {}
    for i in group:
        if at < len(texts[i].prompt):
            ways.setdefault(texts[i].prompt[at], []).append(i)
    large = [way for way in ways.values() if len(way) >= max(FEWEST, SHARE * len(group))]
    taken = {i for way in large for i in way}
    rest = [i for i in group if i not in taken]
    return [one for way in large for one in _split(texts, way, at + 1)] + ([rest] if rest else [])


@torch.inference_mode()
def _read(base: Base, delta: Delta, batch: Batch) -> list[bool]:
    rows = same_weights(base, delta, 1)  # one version: as many rows as there are
    with base.channel.using(rows) if rows is not None else nullcontext():
        past = None
        if batch.shared:
            past = base.model(input_ids=batch.ids[:1, : batch.shared], use_cache=True, logits_to_keep=1).past_key_values
            past.batch_repeat_interleave(len(batch.ids))
        logits = base.model(
            input_ids=batch.ids[:, batch.shared :],
            past_key_values=past,
            use_cache=past is not None,
            logits_to_keep=batch.columns - batch.shared,
        ).logits
    right = (logits.argmax(-1) == batch.targets) | ~batch.answer
    answers: list[bool] = right.all(1).tolist()
    return answers
