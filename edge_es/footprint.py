"""What a batch of so many rows holds at its peak: measured on this device with batches of zeros, once a shape.

A peak is the largest of several phases (a layer's activations, the logits, ...), each of so many bytes and so many
more a row. So n rows hold at most n / m of what m rows do, and between two measured counts the straight line is never
below the peak. Both bounds can only overcount; the line through a few rows, drawn on, would undercount. Where they
allow fewer rows than there is work for, the number that they allow is measured, too: it fits, by the same bounds.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import torch

from edge_es.likelihood import Batch, kl_batch, score_batch
from edge_es.meter import out_of_memory, peak_bytes
from edge_es.model import Base

STRIDE = 16  # tokens, and columns, to which shapes are rounded up before they are measured
CLOSE = 1.125  # so many times the rows that were measured are planned without another measurement
MOST_MEASURED = 4  # measurements at most each time that rows are planned, beside that of a single row


@dataclass(frozen=True)
class Shape:
    """Of one row: `seq` tokens; `columns` of them have logits; distributions over the vocabulary kept for each of
    those, 1 to score an answer, 2 to compare it with the anchor's; beside: bytes that a row holds beyond what a
    forward pass without a cache does."""

    seq: int
    columns: int
    distributions: int = 1
    beside: int = 0


def fitting(base: Base, shape: Shape, room: int, wanted: int, least: int = 1) -> int:
    """Rows of this shape that a batch in `room` bytes may have, at most `wanted`; 0 where `least` do not fit.

    A single row is measured before more are, and more than have been shown to fit only where `least` asks for it.
    """
    wanted = max(least, wanted)
    measured = 0
    while True:
        points = _points(base, shape)
        rows = bisect_right(range(1, wanted + 1), room, key=lambda n: bytes_of(base, shape, n)) if points else 0
        planned = max(least, rows >> base.costs.halvings)
        known = points[-1][0] if points else planned
        if rows in (0, wanted) or planned <= CLOSE * known or measured == MOST_MEASURED:
            return planned if rows >= least else 0
        if _measure(base, shape, planned):
            measured += 1
        elif planned == least:
            return 0
        else:
            base.costs.halve()


def bytes_of(base: Base, shape: Shape, rows: int) -> int:
    """Bytes that a batch of so many rows, of a shape of which one row fits in memory, holds at most."""
    points = _points(base, shape)
    at = bisect_left(points, (rows, 0))
    if at == len(points):
        known, held = points[-1]
        held = -(-held * rows // known)
    elif at == 0:
        held = points[0][1]
    else:
        (below, less), (above, more) = points[at - 1 : at + 1]
        held = less + -(-(more - less) * (rows - below) // (above - below))
    # Which kernel unpacks a weight hangs on the rows, and some do so where no meter looks: it is always counted.
    return held + base.unpacked_bytes + rows * shape.beside


def is_known(base: Base, shape: Shape) -> bool:
    """Whether a row of this shape has been measured; one that ran out of memory leaves no figure."""
    return _rounded(base, shape) in base.costs.measured


def cache_bytes(base: Base, seq: int) -> int:
    """Bytes of one row's keys and values, with the one layer that is copied as it grows."""
    config = base.model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    element = torch.finfo(base.dtype).bits // 8
    return 2 * (config.num_hidden_layers + 1) * seq * int(kept) * int(size) * element


def _points(base: Base, shape: Shape) -> list[tuple[int, int]]:
    """(rows, bytes) as measured, rising; of a new shape, of one row. Empty where that does not fit in memory."""
    if not is_known(base, shape):
        _measure(base, shape, 1)
    return base.costs.measured.get(_rounded(base, shape), [])


def _rounded(base: Base, shape: Shape) -> tuple[int, int, int]:
    seq = min(base.context, -(-shape.seq // STRIDE) * STRIDE)
    return seq, min(seq, -(-shape.columns // STRIDE) * STRIDE), shape.distributions


def _measure(base: Base, shape: Shape, rows: int) -> bool:
    """Adds what so many rows, more than any before, hold; False where they do not fit in the device's memory."""
    seq, columns, distributions = key = _rounded(base, shape)

    def work() -> None:
        ids = torch.zeros(rows, seq, dtype=torch.int64, device=base.device)
        kept = torch.arange(seq - columns, seq, device=base.device)
        batch = Batch(ids, kept, ids[:, kept], torch.ones_like(ids[:, kept], dtype=torch.bool))
        # Through the hooks as a version's rows would be, so that nothing is measured that is not there later.
        (kl_batch if distributions > 1 else score_batch)(base, batch, None)

    try:
        if not is_known(base, shape):
            work()  # the first pass of a shape may set things up that stay
        held = max(1, peak_bytes(base.device, work))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return False
    points = base.costs.measured.setdefault(key, [])
    points.append((rows, max([held, *(less for _, less in points)])))
    return True
