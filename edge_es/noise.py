"""Noise as a pure function of (seed, step, pair, tensor name), in exact integer arithmetic.

Library normal generators differ between CPUs and CUDA; these do not: a 32-bit counter is hashed (the finaliser of
MurmurHash3, twice, under a 64-bit key) and the bits of the hash are counted. The count of 32 fair bits is binomial;
centred and divided by sqrt(8) it has mean 0, variance 1 and excess kurtosis -1/16, close to a normal draw and exact
on every machine. The key is the SHA-256 of (seed, step, pair, tensor name), so that two tensors of one shape never
share noise. Antithetic members share a pair and differ in sign.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

GENERATOR = "murmur3x2-binomial32/1"  # named in every ledger row; change it when a single bit of the output changes
SCALE = 1.0 / math.sqrt(8.0)

BLOCK = 2**15  # elements that are hashed at once on a CPU
DEVICE_BLOCK = 2**20  # and on a GPU: enough to hide what a kernel's launch costs
BESIDE = {"cpu": 13, "cuda": 48}  # bytes of intermediate results that hashing one element holds

_MASK = 0xFFFFFFFF


def key(seed: int, step: int, pair: int, name: str) -> tuple[int, int]:
    """Two 32-bit words that salt the counter."""
    digest = hashlib.sha256(f"{seed}/{step}/{pair}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _finalise(h: torch.Tensor) -> torch.Tensor:
    """MurmurHash3's fmix32 on int64 tensors that hold 32-bit values; in place."""
    # A 64-bit product may wrap, but its low 32 bits are right whatever the wrap, and only they are kept.
    h ^= h >> 16
    h *= 0x85EBCA6B
    h &= _MASK
    h ^= h >> 13
    h *= 0xC2B2AE35
    h &= _MASK
    h ^= h >> 16
    return h


def _bit_count(h: torch.Tensor) -> torch.Tensor:
    """Number of set bits of 32-bit values in an int64 tensor; in place."""
    h -= (h >> 1) & 0x55555555
    h = (h & 0x33333333) + ((h >> 2) & 0x33333333)
    h = (h + (h >> 4)) & 0x0F0F0F0F
    h *= 0x01010101
    h &= _MASK
    return h >> 24


def bits(words: list[tuple[int, int]], size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Centred bit counts, -16 to 16. Returns (len(words), size) int8, one row a key."""
    if torch.device(device).type == "cpu":
        return _bits_on_cpu(words, size)
    return _bits_on_device(words, size, torch.device(device))


def drawing_bytes(count: int, device: torch.device) -> int:
    """Bytes held beside the result while `noise` draws so many numbers."""
    block = BLOCK if device.type == "cpu" else DEVICE_BLOCK
    return count + min(count, block) * BESIDE[device.type]


def _bits_on_device(words: list[tuple[int, int]], size: int, device: torch.device) -> torch.Tensor:
    """In 64-bit integers, of which a GPU has no unsigned smaller ones; in blocks, as they are many times the result."""
    keys = torch.tensor(words, dtype=torch.int64, device=device).reshape(-1, 2, 1)
    out = torch.empty(len(words), size, dtype=torch.int8, device=device)
    columns = max(1, min(size, DEVICE_BLOCK))
    rows = max(1, DEVICE_BLOCK // columns)
    for left in range(0, size, columns):
        counter = torch.arange(left, min(left + columns, size), dtype=torch.int64, device=device)
        counter *= 0x9E3779B9
        counter &= _MASK
        for top in range(0, len(words), rows):
            key = keys[top : top + rows]
            h = _finalise(counter ^ key[:, 0])
            h += key[:, 1]
            h &= _MASK
            out[top : top + rows, left : left + columns] = _bit_count(_finalise(h)) - 16
    return out


def _bits_on_cpu(words: list[tuple[int, int]], size: int) -> torch.Tensor:
    """The same bits, 4 to 20 times sooner [measured]: numpy has unsigned 32-bit numbers, which wrap as wanted, and
    a bit count; blocks of BLOCK elements stay in the cache."""
    keys = np.array(words, dtype=np.uint32).reshape(-1, 2, 1)
    out = np.empty((len(words), size), dtype=np.int8)
    columns = max(1, min(size, BLOCK))
    rows = max(1, BLOCK // columns)
    for left in range(0, size, columns):
        counter = np.arange(left, min(left + columns, size), dtype=np.uint32) * np.uint32(0x9E3779B9)
        for top in range(0, len(words), rows):
            key = keys[top : top + rows]
            h = counter ^ key[:, 0]
            spare = np.empty_like(h)
            _finalise_words(h, spare)
            h += key[:, 1]
            _finalise_words(h, spare)
            out[top : top + rows, left : left + columns] = _count_bits(h)
    out -= np.int8(16)
    return torch.from_numpy(out)


def _finalise_words(h: np.ndarray, spare: np.ndarray) -> None:
    """fmix32 on uint32, in place; `spare` is as large and is overwritten."""
    np.right_shift(h, 16, out=spare)
    h ^= spare
    h *= np.uint32(0x85EBCA6B)
    np.right_shift(h, 13, out=spare)
    h ^= spare
    h *= np.uint32(0xC2B2AE35)
    np.right_shift(h, 16, out=spare)
    h ^= spare


def _bit_count_by_sums(h: np.ndarray) -> np.ndarray:
    """Set bits of each uint32, as uint8; for numpy before 2.0, which cannot count them itself."""
    h = h - ((h >> 1) & np.uint32(0x55555555))
    h = (h & np.uint32(0x33333333)) + ((h >> 2) & np.uint32(0x33333333))
    h = (h + (h >> 4)) & np.uint32(0x0F0F0F0F)
    return ((h * np.uint32(0x01010101)) >> 24).astype(np.uint8)


_count_bits: Callable[[np.ndarray], np.ndarray] = getattr(np, "bitwise_count", _bit_count_by_sums)


def noise(
    seed: int, step: int, pairs: Sequence[int], name: str, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Unit-variance noise of tensor `name` for several pairs. Returns (len(pairs), *shape) fp32."""
    return noise_of_many(seed, step, pairs, [name], math.prod(shape), device)[0].reshape(len(pairs), *shape)


def noise_of_many(
    seed: int, step: int, pairs: Sequence[int], names: Sequence[str], size: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """The same of several tensors of one size. Returns (len(names), len(pairs), size) fp32.

    Values are integers times SCALE, each rounded once, so they are equal bit for bit on every device.
    """
    counts = bits([key(seed, step, pair, name) for name in names for pair in pairs], size, device)
    return counts.to(torch.float32).mul_(SCALE).view(len(names), len(pairs), size)


def together(shapes: Mapping[str, tuple[int, ...]], most: int) -> Iterator[list[str]]:
    """Tensors of one shape, at most `most` numbers of them at a time (or one tensor): a GPU is quick where it is asked
    for much at once."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, shape in shapes.items():
        alike.setdefault(shape, []).append(name)
    for shape, names in alike.items():
        count = max(1, most // max(1, math.prod(shape)))
        for first in range(0, len(names), count):
            yield names[first : first + count]


def keep_rows(seed: int, name: str, rows: int, density: float) -> torch.Tensor:
    """A fixed random mask: which rows of tensor `name` may move. Returns (rows,) bool with round(density * rows) set.

    Chosen by hash order, so that the same seed keeps the same rows on every machine; at least one row is kept.
    """
    counter = torch.arange(rows, dtype=torch.int64)
    first, second = key(seed, -1, -1, f"mask/{name}")
    h = _finalise((counter * 0x9E3779B9 & _MASK) ^ first)
    h = _finalise((h + second) & _MASK) * rows + counter  # ties broken by index
    kept = torch.zeros(rows, dtype=torch.bool)
    kept[h.argsort()[: max(1, round(density * rows))]] = True
    return kept
