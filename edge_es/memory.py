"""How many rows of a batch fit in the memory budget: base + delta + noise of one step + one batch.

A row's bytes are counted from the model's shapes (an upper estimate of what one decoder layer and the kept logits
hold at once); a test compares it with the bytes that are really live.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edge_es.config import parse_bytes
from edge_es.errors import StateError
from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.spaces.adapter import Delta

MARGIN = 0.85  # share of the free memory that 'auto' takes
SLICE_TOKENS = {
    "cpu": 16384,
    "cuda": 131072,
}  # a slice is never longer, whatever the budget: requests wait for it


@dataclass(frozen=True)
class Plan:
    """budget: bytes in all. room: bytes left for one batch. slice_tokens: most tokens of one batch."""

    budget: int
    room: int
    slice_tokens: int

    def shares(self, base: Base, seq: int, columns: int) -> bool:
        """Whether a common beginning is read apart. Keys and values take room that rows would have, so only where they
        halve the rows at most, or are not what limits them."""
        alone, cache = row_bytes(base, seq, columns), cache_bytes(base, seq)
        rows = self.room // (alone + cache)
        return rows >= 2 and (cache <= alone or rows >= self.slice_tokens // seq)

    def rows(self, base: Base, seq: int, columns: int, cached: bool = False) -> int:
        """Rows of `seq` tokens, `columns` of them with logits, that one batch may have; cached: with keys and values
        kept. Raises StateError under 2."""
        need = row_bytes(base, seq, columns) + (cache_bytes(base, seq) if cached else 0)
        rows = min(self.room // need, max(2, self.slice_tokens // seq))
        if rows < 2:
            raise StateError(
                f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one antithetic pair of "
                f"{seq} tokens needs {2 * need}; raise the budget or send shorter feedback"
            )
        return rows

    def tokens(self, base: Base, texts: Sequence[Text], distributions: int = 1) -> int:
        """Padded tokens of one batch of these texts, all under one version, with so many distributions kept for every
        answer token. Raises StateError where the longest text does not fit."""
        lengths = [max(1, len(text)) for text in texts] or [1]
        longest, begin = max(lengths), min((len(text.prompt) for text in texts), default=0)

        def cost(length: int) -> int:
            # A batch keeps the logits of every column in which one of its texts has an answer.
            return row_bytes(base, length, distributions * max(1, length - begin))

        need = cost(longest)
        if self.room < need:
            raise StateError(
                f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one text of {longest} tokens "
                f"needs {need}; raise the budget or take shorter texts"
            )
        # Dearest a token is either the longest batch (most columns) or the shortest (a column a row at least).
        tokens = min(self.room // need * longest, self.room * min(lengths) // cost(min(lengths)))
        return max(longest, min(self.slice_tokens, tokens))

    def answers(self, base: Base, seq: int) -> int:
        """Answers in the making at once, prompts included at most `seq` tokens each. Raises StateError under 1."""
        need = answer_bytes(base, seq)
        if self.room < need:
            raise StateError(
                f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one answer of up to "
                f"{seq} tokens needs {need}; raise the budget or take shorter ones"
            )
        return self.room // need


OPEN = Plan(sys.maxsize, sys.maxsize, SLICE_TOKENS["cpu"])  # no budget: for a library's user, and tests


def row_bytes(base: Base, seq: int, columns: int) -> int:
    """Upper estimate of the bytes that one row of a forward pass without cache holds at its peak."""
    config = base.model.config.get_text_config()
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", 4 * width)
    element = torch.finfo(base.dtype).bits // 8
    # Residual, norm in fp32, q, k, v, attention and their copies, or gate, up and their product; never all at once.
    layer = seq * (element * max(8 * width, 3 * width + 4 * inner) + 8 * width)
    head = columns * config.vocab_size * 4 * 4  # logits, their fp32 copy, and the reductions over them
    return layer + head


def cache_bytes(base: Base, seq: int) -> int:
    """Bytes of one row's keys and values, with the one layer that is copied as it grows."""
    config = base.model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    element = torch.finfo(base.dtype).bits // 8
    return 2 * (config.num_hidden_layers + 1) * seq * int(kept) * int(size) * element


def answer_bytes(base: Base, seq: int) -> int:
    """Upper estimate of the bytes that one answer holds while it is generated, prompt and answer being `seq` tokens."""
    heads = base.model.config.get_text_config().num_attention_heads
    attention = heads * seq * seq * torch.finfo(base.dtype).bits // 8  # where a padded prompt's weights are written out
    return row_bytes(base, seq, 1) + 2 * cache_bytes(base, seq) + attention  # twice: rows that join copy all of it


def plan(base: Base, delta: Delta, budget: str, noise_bytes: int) -> Plan:
    """The room for batches under `budget` ('auto' or a size). Raises ConfigError for what is no size."""
    held = base.bytes() + _delta_bytes(delta) + noise_bytes + _largest_weight(base)
    total = held + int(_free(base.device) * MARGIN) if budget == "auto" else parse_bytes(budget)
    return Plan(total, total - held, SLICE_TOKENS[base.device.type])


def _delta_bytes(delta: Delta) -> int:
    # Twice: a candidate stands beside the version that is served.
    return 2 * sum(a.numel() * 4 + b.numel() * 4 for a, b in delta.stacked.values())


def _largest_weight(base: Base) -> int:
    """Bytes of the largest dequantized weight: a quantized linear unpacks itself for the time of its product."""
    sizes = [m.in_features * m.out_features for m in (base.model.get_submodule(n) for n in base.layers)]
    return 0 if base.quantization == "none" else max(sizes) * torch.finfo(base.dtype).bits // 8


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 2 * 2**30
