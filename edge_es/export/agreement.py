"""Whether an exported adapter says the same in peft as its delta does here, token by token.

Both add a low-rank term beside the linear's own output, so what differs is the order of sums: with fp32 adapters a
few units in the last place on a CPU; on a GPU this one is rounded to bf16 where peft keeps fp32.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.sidechannel import MixedRows
from edge_es.spaces.delta import Delta


@dataclass(frozen=True)
class Agreement:
    """positions: next-token predictions compared. top1: share of them whose likeliest token is the same. max_logit:
    largest absolute difference of a logit; largest: the largest absolute logit, for scale; moved: largest difference
    between the delta's logits and the anchor's, which is what would be missed without the adapter."""

    positions: int
    top1: float
    max_logit: float
    largest: float
    moved: float

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@torch.no_grad()
def agreement(base: Base, delta: Delta, other: Base, folder: Path, texts: Sequence[Text], positions: int) -> Agreement:
    """Compares `positions` next-token predictions at most, over whole texts one at a time.

    `other` is a second load of the same base, which peft changes. Raises ImportError where peft is not installed.
    """
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(other.model, str(folder)).eval()
    seen = same = 0
    furthest = largest = moved = 0.0
    for text in texts:
        if seen == positions:
            break
        ids = torch.tensor([text.prompt + text.answer], device=base.device)[:, : positions - seen]
        with base.channel.using(MixedRows([delta], base.device)):
            here = base.model(ids).logits.float()
        there, anchor = adapted(ids).logits.float(), base.model(ids).logits.float()
        seen += ids.shape[1]
        same += int((here.argmax(-1) == there.argmax(-1)).sum())
        furthest = max(furthest, float((here - there).abs().max()))
        largest, moved = max(largest, float(here.abs().max())), max(moved, float((here - anchor).abs().max()))
    return Agreement(seen, same / max(1, seen), furthest, largest, moved)
