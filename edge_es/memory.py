"""How many rows of a batch fit in the memory budget: base + delta + noise of one step + one batch.

A row's bytes are measured on this device, once a shape, with a batch of zeros: the peak of four rows less that of
two. A batch that runs out of memory all the same makes every later one half as large (`Costs.halve`).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edge_es.config import parse_bytes
from edge_es.errors import StateError
from edge_es.likelihood import Batch, Text, kl_batch, score_batch
from edge_es.meter import peak_bytes
from edge_es.model import Base
from edge_es.spaces.delta import Delta

MARGIN = 0.85  # share of the free memory that 'auto' takes
SLICE_TOKENS = {
    "cpu": 16384,
    "cuda": 131072,
}  # a slice is never longer, whatever the budget: requests wait for it
STRIDE = 16  # tokens, and columns, to which shapes are rounded up before they are measured


@dataclass(frozen=True)
class Shape:
    """Of one row: `seq` tokens; `columns` of them have logits; distributions over the vocabulary kept for each of
    those, 1 to score an answer, 2 to compare it with the anchor's; cached: keys and values are kept, too."""

    seq: int
    columns: int
    distributions: int = 1
    cached: bool = False


@dataclass(frozen=True)
class Plan:
    """budget: bytes in all. room: bytes left for one batch. slice_tokens: most tokens of one batch."""

    budget: int
    room: int
    slice_tokens: int

    def shares(self, base: Base, shape: Shape) -> bool:
        """Whether a common beginning is read apart. Keys and values take room that rows would have, so only where they
        halve the rows at most, or are not what limits them."""
        (fixed, alone), cache = row_bytes(base, shape), cache_bytes(base, shape.seq)
        rows = (self.room - fixed) // (alone + cache)
        return rows >= 2 and (cache <= alone or rows >= self.slice_tokens // shape.seq)

    def rows(self, base: Base, shape: Shape) -> int:
        """Rows of this shape that one batch may have. Raises StateError under 2."""
        fixed, each = row_bytes(base, shape)
        rows = min((self.room - fixed) // each, max(2, self.slice_tokens // shape.seq))
        if rows < 2:
            raise StateError(
                f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one antithetic pair of "
                f"{shape.seq} tokens needs {fixed + 2 * each}; raise the budget or send shorter feedback"
            )
        return rows

    def tokens(self, base: Base, texts: Sequence[Text], distributions: int = 1) -> int:
        """Padded tokens of one batch of these texts, all under one version, with so many distributions kept for every
        answer token. Raises StateError where the longest text does not fit."""
        lengths = [max(1, len(text)) for text in texts] or [1]
        longest, begin = max(lengths), min((len(text.prompt) for text in texts), default=0)

        def rows(length: int) -> int:
            # A batch keeps the logits of every column in which one of its texts has an answer.
            fixed, each = row_bytes(base, Shape(length, max(1, length - begin), distributions))
            if self.room < fixed + each and length == longest:
                raise StateError(
                    f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one text of {longest} "
                    f"tokens needs {fixed + each}; raise the budget or take shorter texts"
                )
            return max(1, (self.room - fixed) // each)

        # Dearest a token is either the longest batch (most columns) or the shortest (a column a row at least).
        tokens = min(rows(longest) * longest, rows(min(lengths)) * min(lengths))
        return max(longest, min(self.slice_tokens, tokens))

    def answers(self, base: Base, seq: int) -> int:
        """Answers in the making at once, prompts included at most `seq` tokens each. Raises StateError under 1."""
        fixed, each = answer_bytes(base, seq)
        if self.room < fixed + each:
            raise StateError(
                f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but one answer of up to "
                f"{seq} tokens needs {fixed + each}; raise the budget or take shorter ones"
            )
        return (self.room - fixed) // each


OPEN = Plan(sys.maxsize, sys.maxsize, SLICE_TOKENS["cpu"])  # no budget: for a library's user, and tests


def row_bytes(base: Base, shape: Shape) -> tuple[int, int]:
    """(bytes that a batch of this shape holds whatever its rows, bytes that each row adds) at its peak, measured."""
    seq = min(base.context, -(-shape.seq // STRIDE) * STRIDE)
    columns = min(seq, -(-shape.columns // STRIDE) * STRIDE)
    key = (seq, columns, shape.distributions)
    if key not in base.costs.measured:
        base.costs.measured[key] = _measure(base, *key)
    fixed, each = base.costs.measured[key]
    each += cache_bytes(base, shape.seq) if shape.cached else 0
    return fixed, each << base.costs.halved


def _measure(base: Base, seq: int, columns: int, distributions: int) -> tuple[int, int]:
    def peak(rows: int) -> int:
        ids = torch.zeros(rows, seq, dtype=torch.int64, device=base.device)
        kept = torch.arange(seq - columns, seq, device=base.device)
        batch = Batch(ids, kept, ids[:, kept], torch.ones_like(ids[:, kept], dtype=torch.bool))
        # Through the hooks as a version's rows would be, so that nothing is measured that is not there later.
        held = batch.ids.nbytes + batch.targets.nbytes + batch.answer.nbytes
        work = kl_batch if distributions > 1 else score_batch
        return held + peak_bytes(base.device, lambda: work(base, batch, None))

    peak(2)  # the first pass of a shape may set things up that stay
    two, four = peak(2), peak(4)
    each = max(1, -(-(four - two) // 2))
    return max(0, two - 2 * each), each


def cache_bytes(base: Base, seq: int) -> int:
    """Bytes of one row's keys and values, with the one layer that is copied as it grows."""
    config = base.model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    element = torch.finfo(base.dtype).bits // 8
    return 2 * (config.num_hidden_layers + 1) * seq * int(kept) * int(size) * element


def answer_bytes(base: Base, seq: int) -> tuple[int, int]:
    """(bytes whatever the rows, bytes that each answer adds) while answers are generated, prompt and answer being
    `seq` tokens each."""
    heads = base.model.config.get_text_config().num_attention_heads
    attention = heads * seq * seq * torch.finfo(base.dtype).bits // 8  # where a padded prompt's weights are written out
    fixed, each = row_bytes(base, Shape(seq, 1))
    return fixed, each + 2 * cache_bytes(base, seq) + attention  # twice: rows that join copy all of it


def plan(base: Base, delta: Delta, budget: str, noise_bytes: int) -> Plan:
    """The room for batches under `budget` ('auto' or a size). Raises ConfigError for what is no size."""
    held = base.weight_bytes + _delta_bytes(delta) + noise_bytes
    total = held + int(_free(base.device) * MARGIN) if budget == "auto" else parse_bytes(budget)
    return Plan(total, total - held, SLICE_TOKENS[base.device.type])


def _delta_bytes(delta: Delta) -> int:
    # Twice: a candidate stands beside the version that is served.
    return 2 * delta.bytes()


def out_of_memory(error: Exception) -> bool:
    """Whether this is what torch raises where there is no memory left, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 2 * 2**30
