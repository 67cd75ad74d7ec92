"""What linears read: every real token's input vector, as the texts pass through one version of the model."""

from collections.abc import Callable, Sequence

import torch

from edge_es.halving import halving, in_two
from edge_es.likelihood import Text, answer_logits, batches, collate, padded, same_weights
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta
from edge_es.spaces.sketch import cap_norms

MAX_TOKENS = 4096  # of one batch of inputs


def visit_inputs(
    base: Base,
    delta: Delta,
    texts: Sequence[Text],
    names: Sequence[str],
    visit: Callable[[str, torch.Tensor, torch.Tensor], None],
    room: Plan,
) -> Slices[None]:
    """`visit(layer, vectors (tokens, width) fp32, owners (tokens,) int64)` for the real tokens of all texts, norms
    capped; owners: the index of the text that each is of."""
    wanted = set(names)
    seen: list[set[str]] = [set() for _ in texts]  # layers that a batch which then ran out of memory had visited

    def work(index: list[int]) -> None:
        some = [texts[i] for i in index]
        batch = collate(base, some)
        owner = torch.tensor(index, device=base.device)
        lengths = torch.tensor([len(text) for text in some], device=base.device)
        real = torch.arange(batch.ids.shape[1], device=base.device) < lengths[:, None]

        owners = owner.repeat_interleave(lengths)

        def watch(name: str, x: torch.Tensor) -> None:
            if name in wanted and name not in seen[index[0]]:
                visit(name, cap_norms(x[real].float()), owners)
                for i in index:
                    seen[i].add(name)

        with base.channel.watching(watch):
            answer_logits(base, batch, same_weights(base, delta, len(some)))

    pieces = batches(texts, min(MAX_TOKENS, room.tokens(base, texts)))
    yield from halving(base.costs, pieces, work, in_two, lambda index: padded(texts, index))
