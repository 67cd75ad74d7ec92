"""How many rows of a batch fit in the memory budget: base + delta + noise of one step + one batch.

A batch that runs out of memory all the same makes the later ones half as large, until enough of them have fitted
(`Costs`).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils._pytree import tree_leaves

from edge_es.config import parse_bytes
from edge_es.errors import TooLarge
from edge_es.footprint import Shape, bytes_of, cache_bytes, fitting, is_known
from edge_es.likelihood import Text
from edge_es.model import Base
from edge_es.spaces.delta import Delta

MARGIN = 0.85  # share of the free memory that 'auto' takes
SLICE_TOKENS = {
    "cpu": 16384,
    "cuda": 131072,
}  # a slice is never longer, whatever the budget: requests wait for it


@dataclass(frozen=True)
class Plan:
    """room: bytes left for one batch. slice_tokens: most tokens of one batch.

    What needs a shape measured that is not known yet measures it, within the room.
    """

    room: int
    slice_tokens: int

    def shares(self, base: Base, shape: Shape, wanted: int) -> bool:
        """Whether a common beginning is read apart by `wanted` rows. Keys and values take room that rows would have,
        so only where they halve the rows at most, or are not what limits them."""
        cached = self._pairs(base, with_cache(base, shape), wanted)
        return cached >= 2 and 2 * cached >= self._pairs(base, shape, wanted)

    def rows(self, base: Base, shape: Shape, wanted: int) -> int:
        """Rows of this shape that one batch may have, at most `wanted` (or one pair). Raises TooLarge under 2."""
        rows = self._pairs(base, shape, wanted)
        if rows < 2:
            raise self._lacks(base, shape, 2, "one antithetic pair of", "send shorter feedback")
        return rows

    def _pairs(self, base: Base, shape: Shape, wanted: int) -> int:
        return fitting(base, shape, self.room, min(wanted, self.slice_tokens // shape.seq), least=2)

    def tokens(self, base: Base, texts: Sequence[Text], distributions: int = 1) -> int:
        """Padded tokens of one batch of these texts, all under one version, with so many distributions kept for every
        answer token. Raises TooLarge where the longest text does not fit."""
        lengths = [max(1, len(text)) for text in texts] or [1]
        longest, begin = max(lengths), min((len(text.prompt) for text in texts), default=0)
        wanted = min(self.slice_tokens, len(lengths) * longest)

        def fit(length: int) -> int:
            # A batch keeps the logits of every column in which one of its texts has an answer.
            shape = Shape(length, max(1, length - begin), distributions)
            rows = fitting(base, shape, self.room, -(-wanted // length))
            if not rows and length == longest:
                raise self._lacks(base, shape, 1, "one text of", "take shorter texts")
            return max(1, rows) * length

        # Dearest a token is either the longest batch (most columns) or the shortest (a column a row at least).
        return max(longest, min(self.slice_tokens, fit(longest), fit(min(lengths))))

    def answers(self, base: Base, seq: int, wanted: int, member_bytes: int = 0) -> int:
        """Answers in the making at once, at most `wanted`, prompts included at most `seq` tokens each. member_bytes:
        what a row holds for its member (`Basis.member_bytes`). Raises TooLarge under 1."""
        heads = base.model.config.get_text_config().num_attention_heads
        attention = heads * seq * seq * torch.finfo(base.dtype).bits // 8  # where a padded prompt's are written out
        # Twice the cache: rows that join copy all of it.
        shape = Shape(seq, 1, beside=2 * cache_bytes(base, seq) + attention + member_bytes)
        rows = fitting(base, shape, self.room, wanted)
        if rows < 1:
            raise self._lacks(base, shape, 1, "one answer of up to", "take shorter ones")
        return rows

    def _lacks(self, base: Base, shape: Shape, rows: int, what: str, remedy: str) -> TooLarge:
        needed = bytes_of(base, shape, rows) if is_known(base, shape) else "more than there is"
        return TooLarge(
            f"learn.memory_budget leaves {max(0, self.room)} bytes for a batch, but {what} {shape.seq} tokens needs "
            f"{needed}; raise the budget or {remedy}"
        )


OPEN = Plan(sys.maxsize, SLICE_TOKENS["cpu"])  # no budget: for a library's user, and tests


def with_cache(base: Base, shape: Shape) -> Shape:
    """Rows whose keys and values are kept, too."""
    return replace(shape, beside=cache_bytes(base, shape.seq))


def plan(base: Base, delta: Delta, budget: str, noise_bytes: int) -> Plan:
    """The room for batches under `budget` ('auto' or a size) beside `noise_bytes` that are not held yet. Raises
    ConfigError for what is no size."""
    version = delta.bytes() + _merged_bytes(delta)
    ahead = version + noise_bytes  # a candidate will stand beside the version that is served
    if budget == "auto":
        left = int(_free(base.device) * MARGIN)  # what the weights and the version hold is not free any more
    else:
        left = parse_bytes(budget) - base.weight_bytes - version
    most = SLICE_TOKENS[base.device.type]
    return Plan(left - ahead, min(most, base.costs.reading.tokens() or most))


def hold_to(budget: str, device: torch.device) -> None:
    """Makes an explicit budget the limit of a GPU's allocator: what would go beyond it is out of memory, which batches
    and requests know how to take. A CPU has no such limit; there the plan is all. Raises ConfigError for what is no
    size."""
    if device.type == "cuda" and budget != "auto":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, parse_bytes(budget) / total), device)


def _merged_bytes(delta: Delta) -> int:
    """Of what forward passes read of all parts together, where it is not the parts' own memory."""
    own = [t for part in delta.parts for t in (*part.basis.tensors().values(), part.b) if t is not None]
    known = {t.untyped_storage().data_ptr() for t in own}
    read = [t for t in tree_leaves(delta.merged) if isinstance(t, torch.Tensor)]
    apart = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in read}
    return sum(size for place, size in apart.items() if place not in known)


def _free(device: torch.device) -> int:
    """Bytes that the device can still give, those included that torch keeps for later and no tensor uses."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 2 * 2**30
