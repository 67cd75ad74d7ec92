"""How many bytes a piece of work holds at its peak: the allocator's figure on a GPU, live tensors on a CPU.

Counting on a CPU is slow, so it is done in a pass of its own, never in one that is timed.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive at once; `peak` is the most there were.

    Views of tensors from outside (of the base's weights) count nothing. Memory that a kernel takes for itself and
    gives back before it returns is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(out):
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known and key not in read:
                self.known.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.free, key, size)
        return out

    def free(self, key: int, size: int) -> None:
        """A storage of `size` bytes is gone."""
        self.known.discard(key)
        self.now -= size


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [leaf.untyped_storage() for leaf in leaves if leaf.device.type != "meta"]


def peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """The most bytes that `work` held at once above what was held before it: CUDA's allocator, or LiveBytes."""
    if device.type == "cuda":
        release(device)  # what goes meanwhile would be taken off; on a CPU only what is made inside is counted
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        wait(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    with LiveBytes() as live:
        work()
    return live.peak


def out_of_memory(error: Exception) -> bool:
    """Whether this is what torch raises where there is no memory left, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was asked to; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Gives back what no one holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
