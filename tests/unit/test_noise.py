"""Noise: pure, exact, salted by tensor name, and close enough to normal. Golden values pin every bit."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_es import noise

SEEDS = st.integers(0, 2**63 - 1)
STEPS = st.integers(0, 2**31)
NAMES = st.text(min_size=1, max_size=30)


GOLDEN_KEY = (2180981474, 3016337015)
GOLDEN_SMALL = [0, -1, -2, 2, -5, 1, -1, 1, 1, 1, -3, -1, 1, -1, -2, 3, 1, -1, 5, 1, 4, 5, -4, 0]
GOLDEN_LARGE = [-1, -4, 3, -2, 5, -1, 1, 4, -2, 3, -2, 1, 1, -3, -2, -1, 0, -1, -1, 4, -1, 4, 0, 2]
GOLDEN_DIGEST = "e7fb0810bc3e8f9884cd184bd76f1930223d0bca6225aa57c53d716a4aa56d63"
GOLDEN_MASK = [1, 7, 8, 10, 21, 24, 31, 33]


def reference(seed: int, step: int, pair: int, name: str, size: int) -> list[int]:
    """The generator once more, in whole numbers of Python, as its documentation states it."""

    def finalise(h: int) -> int:
        h ^= h >> 16
        h = h * 0x85EBCA6B % 2**32
        h ^= h >> 13
        h = h * 0xC2B2AE35 % 2**32
        return h ^ h >> 16

    digest = hashlib.sha256(f"{seed}/{step}/{pair}/{name}".encode()).digest()
    first, second = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    hashes = (finalise((finalise(i * 0x9E3779B9 % 2**32 ^ first) + second) % 2**32) for i in range(size))
    return [h.bit_count() - 16 for h in hashes]


def draw(seed: int, step: int, pair: int, name: str, size: int) -> torch.Tensor:
    return noise.bits([noise.key(seed, step, pair, name)], size)[0]


def test_golden_values() -> None:
    assert noise.GENERATOR == "murmur3x2-binomial32/1"
    assert noise.key(0, 0, 0, "a") == GOLDEN_KEY
    assert draw(0, 0, 0, "a", 24).tolist() == GOLDEN_SMALL
    assert draw(2**63 - 1, 10**6, 17, "model.layers.3.mlp.up_proj", 24).tolist() == GOLDEN_LARGE
    words = [noise.key(7, 11, pair, "lm_head") for pair in range(5)]
    digest = hashlib.sha256(noise.bits(words, 70_001).numpy().tobytes()).hexdigest()
    assert digest == GOLDEN_DIGEST


def test_golden_values_as_floats() -> None:
    values = noise.noise(0, 0, range(1), "a", (24,))
    exact = np.array(GOLDEN_SMALL, dtype=np.float32) * np.float32(1.0 / math.sqrt(8.0))
    assert values.dtype == torch.float32
    assert values[0].numpy().tobytes() == exact.tobytes()


@settings(deadline=None)
@given(seed=SEEDS, step=STEPS, pair=st.integers(0, 1000), name=NAMES, size=st.integers(0, 300))
def test_equal_to_the_documented_generator(seed: int, step: int, pair: int, name: str, size: int) -> None:
    assert draw(seed, step, pair, name, size).tolist() == reference(seed, step, pair, name, size)


@pytest.mark.parametrize("size", [1, 127, 128, 4096, 65_535, 65_536, 65_537, 200_003])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_the_fast_path_of_cpus_has_the_bits_of_the_one_for_devices(size: int, rows: int) -> None:
    words = [noise.key(3, 1, pair, "w") for pair in range(rows if size < 70_000 else 2)]
    on_device = noise._bits_on_device(words, size, torch.device("cpu"))
    assert torch.equal(noise.bits(words, size), on_device)


@pytest.mark.parametrize(("rows", "size"), [(1, 1000), (3, 127), (300, 1), (20, 129)])
def test_a_device_has_the_same_bits_however_they_are_blocked(
    monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    words = [noise.key(3, 1, pair, "w") for pair in range(rows)]
    monkeypatch.setattr(noise, "DEVICE_BLOCK", 128)
    assert torch.equal(noise._bits_on_device(words, size, torch.device("cpu")), noise.bits(words, size))


def test_the_fast_path_has_its_bits_without_numpys_own_bit_count() -> None:
    values = np.concatenate([np.arange(70_000), 2**32 - 1 - np.arange(70_000)]).astype(np.uint32)
    counts = noise._bit_count_by_sums(values.copy())
    assert counts.dtype == np.uint8
    assert counts.tolist() == [int(v).bit_count() for v in values]


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, step=STEPS, name=NAMES, pairs=st.integers(1, 6), size=st.integers(1, 200))
def test_pure_a_pair_does_not_depend_on_its_company(seed: int, step: int, name: str, pairs: int, size: int) -> None:
    together = noise.noise(seed, step, range(pairs), name, (size,))
    assert together.shape == (pairs, size)
    alone = torch.cat([noise.noise(seed, step, range(p, p + 1), name, (size,)) for p in reversed(range(pairs))])
    assert torch.equal(together, alone.flip(0))
    longer = noise.noise(seed, step, range(pairs), name, (size + 7,))
    assert torch.equal(together, longer[:, :size])


def test_shape_is_only_a_view() -> None:
    flat = noise.noise(1, 2, range(2, 4), "w", (6,))
    assert torch.equal(noise.noise(1, 2, range(2, 4), "w", (2, 3)), flat.reshape(2, 2, 3))


def test_no_global_generator_is_used_or_moved() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = noise.noise(1, 2, range(3), "w", (50,))
    after = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    assert (torch.rand(1), np.random.rand()) == after
    assert torch.equal(noise.noise(1, 2, range(3), "w", (50,)), first)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.double().flatten(), b.double().flatten()]))[0, 1])


SIZE = 40_000
BOUND = 5 / math.sqrt(SIZE)  # five standard errors of a correlation between independent draws
NEIGHBOURS = [
    ((5, 9, 2, "layers.0.q_proj"), (5, 9, 2, "layers.1.q_proj")),  # two tensors of one shape
    ((5, 9, 2, "layers.0.q_proj"), (5, 9, 2, "layers.0.k_proj")),
    ((5, 9, 2, "w"), (5, 9, 3, "w")),
    ((5, 9, 2, "w"), (5, 10, 2, "w")),
    ((5, 9, 2, "w"), (6, 9, 2, "w")),
    ((0, 0, 0, "w"), (0, 0, 1, "w")),
    ((1, 11, 1, "w"), (1, 1, 11, "w")),  # no two keys run together as text
    ((11, 1, 1, "w"), (1, 11, 1, "w")),
]


@pytest.mark.parametrize(("one", "other"), NEIGHBOURS)
def test_neighbouring_draws_share_nothing(one: tuple[int, int, int, str], other: tuple[int, int, int, str]) -> None:
    a, b = draw(*one, SIZE), draw(*other, SIZE)
    assert noise.key(*one) != noise.key(*other)
    for shift in (0, 1, 2, 64, 4096):
        assert abs(_correlation(a[shift:], b[: SIZE - shift])) < BOUND * math.sqrt(SIZE / (SIZE - shift))


@settings(deadline=None, max_examples=50)
@given(
    seed=SEEDS,
    step=STEPS,
    pair=st.integers(0, 100),
    names=st.lists(NAMES, min_size=2, max_size=2, unique=True),
)
def test_two_tensors_of_one_shape_never_share_noise(seed: int, step: int, pair: int, names: list[str]) -> None:
    a, b = (draw(seed, step, pair, name, 512) for name in names)
    assert not torch.equal(a, b)
    assert not torch.equal(a, -b)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63 - 1])
def test_moments(seed: int) -> None:
    x = noise.noise(seed, 3, range(4), "w", (100_000,)).double().flatten()
    n = x.numel()
    assert abs(float(x.mean())) < 5 / math.sqrt(n)
    assert abs(float(x.var()) - 1) < 5 * math.sqrt(2 / n)
    skew, kurtosis = float((x**3).mean()), float((x**4).mean()) - 3
    assert abs(skew) < 5 * math.sqrt(15 / n)
    assert abs(kurtosis - (-1 / 16)) < 5 * math.sqrt(96 / n)
    assert float(x.abs().max()) <= 16 * noise.SCALE


@pytest.mark.parametrize("seed", [0, 7])
def test_values_have_the_binomial_distribution(seed: int) -> None:
    counts = draw(seed, 0, 0, "w", 400_000)
    seen = torch.bincount(counts.long() + 16, minlength=33).double()
    expected = torch.tensor([math.comb(32, k) / 2**32 for k in range(33)], dtype=torch.float64) * counts.numel()
    enough = expected > 5
    statistic = float((((seen - expected) ** 2 / expected)[enough]).sum())
    degrees = int(enough.sum()) - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("lag", [1, 2, 3, 64, 128, 1024])
def test_no_correlation_along_a_tensor(lag: int) -> None:
    x = draw(4, 4, 4, "w", SIZE)
    assert abs(_correlation(x[lag:], x[:-lag])) < BOUND * 1.1


def test_every_hash_bit_is_fair() -> None:
    """Sums of pairs of elements: were the bits of the hash dependent, the variance of the sums would show it."""
    x = torch.stack([draw(s, 0, 0, "w", 4096) for s in range(64)]).double()
    assert abs(float(x.mean(0).var()) * 64 / 8 - 1) < 0.1  # over seeds, element by element
    assert abs(float(x.mean(1).var()) * 4096 / 8 - 1) < 0.9  # over elements, seed by seed


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, name=NAMES, rows=st.integers(1, 500), density=st.floats(0.001, 1.0))
def test_masks_keep_the_stated_share_and_are_pure(seed: int, name: str, rows: int, density: float) -> None:
    mask = noise.keep_rows(seed, name, rows, density)
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == max(1, round(density * rows))
    assert torch.equal(mask, noise.keep_rows(seed, name, rows, density))


def test_masks_grow_with_their_density_and_differ_by_name_and_seed() -> None:
    sparse, dense = noise.keep_rows(1, "w", 1000, 0.1), noise.keep_rows(1, "w", 1000, 0.5)
    assert bool((dense | ~sparse).all())
    for other in (noise.keep_rows(1, "v", 1000, 0.5), noise.keep_rows(2, "w", 1000, 0.5)):
        assert 180 < int((dense & other).sum()) < 320
    assert noise.keep_rows(1, "w", 40, 0.2).nonzero().flatten().tolist() == GOLDEN_MASK
