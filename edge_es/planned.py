"""What a known model would hold on a card, by arithmetic over its shape: nothing is loaded.

For choosing a configuration before there are weights. A running daemon measures instead (`footprint.py`, `memory.py`);
tests hold these figures to what it measures of small shapes. All sizes are bytes.

| what | formula |
| --- | --- |
| linears in nf4 | half a byte a weight, a byte of scale for 64, four for 256 scales, two codebooks (bitsandbytes) |
| all others | two bytes: embeddings, an untied head, norms, biases |
| keys and values | 2 * (layers + 1) * key-value heads * head size * 2 a token; the one more is a layer that grows |
| delta | fp32, both sides of every target, twice: as learned and as read, and once more for a candidate |
| a row | activations of one layer and the logits of its answer tokens, in the types that a forward pass has them in |
"""

from dataclasses import dataclass

from edge_es.config import Config, parse_bytes
from edge_es.shapes import Shape

ELEMENT = 2  # bytes of an activation and of what is not quantized: bfloat16, as on a GPU
BESIDE = 2**30  # CUDA's own memory and a desktop's
ROW, ANSWER = 512, 128  # tokens of the row that is planned with, and of its answer
LEAST = 8  # rows of members at once under which learning would crawl


@dataclass(frozen=True)
class Planned:
    """weights: of the quantized model. unpacked: the largest linear as a forward pass unpacks it. delta: of a full rank
    budget, as served and as candidate. noise: of one step. serving: keys and values of `serve.max_rows` answers that
    fill the context, with the kept prefixes. row: of ROW tokens that is scored. card: what all may take. rows: how
    many members' rows are scored at once in what is left."""

    weights: int
    unpacked: int
    delta: int
    noise: int
    serving: int
    row: int
    card: int

    @property
    def resident(self) -> int:
        """Without any batch."""
        return self.weights + self.unpacked + self.delta + self.noise + self.serving

    @property
    def rows(self) -> int:
        return max(0, (self.card - BESIDE - self.resident) // self.row)

    @property
    def fits(self) -> bool:
        """Whether it can learn at a reasonable pace."""
        return self.rows >= LEAST

    @property
    def budget(self) -> int:
        """For `learn.memory_budget`, which speaks of weights, delta and batches: a quarter of a GiB is its grain."""
        quarter = 2**28
        return (self.card - BESIDE - self.serving) // quarter * quarter


def linears(shape: Shape) -> dict[str, tuple[int, int]]:
    """(in, out) of each linear of a layer, by the end of its name."""
    query, kept = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "q_proj": (shape.hidden, query),
        "k_proj": (shape.hidden, kept),
        "v_proj": (shape.hidden, kept),
        "o_proj": (query, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }


def weight_bytes(shape: Shape, quantization: str = "nf4", element: int = ELEMENT) -> int:
    """Of the model as `load_base` holds it."""
    sizes = linears(shape)
    inside = shape.layers * sum(wide * out for wide, out in sizes.values())
    a_weight = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0, "none": float(element)}[quantization]
    embedded = shape.vocab * shape.hidden * (1 if shape.tied else 2)
    norms = (2 * shape.layers + 1) * shape.hidden
    biased = ("q_proj", "k_proj", "v_proj") if shape.family == "qwen2" else ()
    biases = shape.layers * sum(sizes[name][1] for name in biased)
    beside = {"nf4": len(sizes) * 4 * (16 + 256 + 1), "int8": 4 * sum(out for _, out in sizes.values()), "none": 0}
    scales = shape.layers * beside[quantization]
    return int(inside * a_weight) + (embedded + norms + biases) * element + scales


def cache_bytes(shape: Shape, tokens: int, element: int = ELEMENT) -> int:
    """Keys and values of one row (`footprint.cache_bytes`)."""
    return 2 * (shape.layers + 1) * tokens * shape.kv_heads * shape.head_dim * element


def row_bytes(shape: Shape, tokens: int = ROW, answer: int = ANSWER, element: int = ELEMENT) -> int:
    """Of one scored row: the larger of a layer's activations and of its logits, beside the hidden state.

    Activations: gate, up and their product. Logits: as computed, in fp32, and once more while they are summed.
    """
    hidden = 4 * tokens * shape.hidden * element
    layer = 3 * tokens * shape.intermediate * element
    logits = answer * shape.vocab * (element + 2 * 4)
    return hidden + max(layer, logits)


def planned(shape: Shape, config: Config, card: int) -> Planned:
    """Of an `adapter` search on a card of so many bytes."""
    sizes = linears(shape)
    targets = [sizes[name] for name in config.search.target_modules if name in sizes] or list(sizes.values())
    wide, out = (shape.layers * sum(one[side] for one in targets) for side in (0, 1))
    delta = 3 * 4 * config.search.max_rank * (wide + out)
    noise = config.search.population // 2 * config.search.rank * out * ELEMENT
    context = min(config.model.context or shape.positions, shape.positions)
    serving = config.serve.max_rows * cache_bytes(shape, context) + parse_bytes(config.serve.prefix_cache)
    unpacked = 0 if config.model.quantization == "none" else max(a * b for a, b in sizes.values()) * ELEMENT
    weights = weight_bytes(shape, config.model.quantization)
    return Planned(weights, unpacked, delta, noise, serving, row_bytes(shape), card)
