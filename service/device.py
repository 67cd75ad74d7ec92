"""What is to be said of the device: how much memory was needed, and whether it is still there."""

import gc
import logging
import resource
from collections.abc import Callable
from typing import Any

import torch

from edge_es.config import Config, parse_bytes
from edge_es.meter import out_of_memory, release
from edge_es.model import Base

log = logging.getLogger(__name__)


def memory(base: Base, config: Config) -> dict[str, Any]:
    """peak_bytes: the allocator's peak on a GPU, the process's peak resident size on a CPU.
    batches_halved: how often a batch ran out of memory; for some time after that, batches are planned smaller."""
    setting = config.learn.memory_budget
    if base.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(base.device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "budget_bytes": None if setting == "auto" else parse_bytes(setting),
        "base_bytes": base.weight_bytes,
        "peak_bytes": peak,
        "batches_halved": base.costs.halved,
    }


def settled() -> None:
    """What is there when the model is loaded stays: a collection that looked through all of it would keep requests
    waiting for a third of a second [measured]."""
    gc.collect()
    gc.freeze()


def lost(error: Exception) -> bool:
    """Whether the device itself has failed: after that everything on it fails, and only a new process helps."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not out_of_memory(error)


def relieved(work: Callable[[], None], give_back: Callable[[], None], device: torch.device) -> RuntimeError | None:
    """Does `work`; where memory runs out once more, after `give_back`. The error where it runs out again; others are
    raised."""
    try:
        work()
        return None
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    log.warning("no memory for the answers in hand; learning gives back what it holds")
    give_back()  # not in the handler above: what has failed is still held there
    release(device)
    try:
        work()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return error
    return None
