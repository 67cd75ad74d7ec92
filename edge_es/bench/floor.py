"""The least that each measured thing has to do: floating-point operations and bytes, counted from the sizes.

A multiplication and an addition are two operations. Element-wise work (norms, activations, softmax) is left out on
both sides: it is the same for a learning step and for plain passes.
"""

from typing import Any

from edge_es.bench.calls import Piece, Subject


def floor(it: Subject, pieces: list[Piece]) -> dict[str, Any]:
    """Of one learning step over its rows, of plain passes over the same rows, and of the in-place loop.

    operations: of each. time_over_plain: what the ratio could be at best if operations were all. weight_bytes: read
    once a batch. noise_numbers: drawn a step; in place they are drawn again for every undoing and for the update.
    """
    model, basis = it.base.model, it.delta.active.basis
    linears = {name: model.get_submodule(name) for name in it.base.layers}
    weights = sum(linear.in_features * linear.out_features for linear in linears.values())
    config = model.config.get_text_config()
    head = config.hidden_size * config.vocab_size
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_attention_heads * size
    read = columns = pairs = 0
    for piece in pieces:
        rows, seq = piece.repeats * piece.batch.ids.shape[0], piece.batch.ids.shape[1]
        begun = piece.batch.shared
        read += rows * (seq - begun) + piece.repeats * begun
        columns += rows * len(piece.batch.columns)
        pairs += rows * (seq * (seq + 1) - begun * (begun + 1)) // 2 + piece.repeats * begun * (begun + 1) // 2
    plain = 2 * (weights * read + head * columns) + 4 * config.num_hidden_layers * heads * pairs
    # The version's own term and the member's: A x, then B (A x), in every adapted linear.
    ends = sum(linears[name].in_features + linears[name].out_features for name in basis.slots)
    extra = 2 * 2 * it.config.search.rank * ends * read
    return {
        "plain_operations": plain,
        "es_operations": plain + extra,
        "time_over_plain": (plain + extra) / plain,
        "weight_bytes": it.base.weight_bytes,
        "delta_bytes": it.delta.bytes(),
        "es_noise_numbers": it.members // 2 * basis.size,
        "in_place_noise_numbers": 3 * it.members * weights,
    }
