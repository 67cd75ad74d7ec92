"""The novelty subspace: input directions that the feedback excites and prior abilities do not.

For every adapted linear: the directions that hold `energy` of the protected inputs' second moment are removed, and
the principal directions of what is left of the feedback's inputs become the rows of A, orthonormal and without
whitening (measured: whitening by 1/sqrt(eigenvalue) destroys retention). With energy 0 it is the feedback's own
principal directions, as EVA initialisation takes them (arXiv 2410.07170). Layers whose inputs are one and the same
tensor (q, k, v; gate, up) share one sketch, and layers are taken a group at a time, so that memory stays bounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from edge_es.likelihood import Text, answer_logits, collate
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta
from edge_es.spaces.inputs import visit_inputs
from edge_es.spaces.sketch import Sketch

MEMORY = 256 * 2**20  # bytes of sketches held at once


@dataclass(frozen=True)
class Found:
    """An input side, and what share of the feedback inputs' energy is novel (None: nothing was protected) and is
    captured by it; both are means over layers."""

    side: InputSide
    novelty_share: float | None
    captured: float


def find(
    base: Base,
    delta: Delta,
    layers: Sequence[str],
    feedback: Sequence[Text],
    protected: Sequence[Text],
    rank: int,
    energy: float,
    room: Plan,
) -> Slices[Found]:
    """The input side of `layers` for this feedback. `protected` may be empty (then, or with energy 0, nothing is
    removed)."""
    leaders = _shared_inputs(base, feedback[0])
    guard = energy > 0 and len(protected) > 0
    room = replace(room, room=room.room // 2)  # the other half is the sketches'
    rows: dict[str, torch.Tensor] = {}
    shares: list[tuple[float, float]] = []  # of each leader: novel, captured
    for group in _groups(base, list(dict.fromkeys(leaders[name] for name in layers)), min(MEMORY, room.room)):
        removed: dict[str, torch.Tensor] = {}
        if guard:
            prior = yield from _sketches(base, delta, protected, group, {}, room)
            removed = {name: _leading(sketch, energy) for name, (sketch, _) in prior.items()}
        fresh = yield from _sketches(base, delta, feedback, group, removed, room)
        for name, (sketch, whole) in fresh.items():
            values, vectors = sketch.directions()
            rows[name] = _complete(vectors[:rank], values[:rank] > 1e-6 * whole, rank)
            shares.append((sketch.total / whole, float(values[:rank].sum()) / whole))
    side = InputSide({name: rows[leaders[name]] for name in layers}, base.outs(layers))
    novel, captured = (sum(column) / len(shares) for column in zip(*shares, strict=True))
    return Found(side, novel if guard else None, captured)


def captured_share(base: Base, delta: Delta, side: InputSide, texts: Sequence[Text], room: Plan) -> Slices[float]:
    """The share of these texts' input energy that `side` reads, mean over layers."""
    inside = dict.fromkeys(side.a, 0.0)
    whole = dict.fromkeys(side.a, 0.0)

    def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        inside[name] += float((vectors @ side.a[name].T).square().sum())
        whole[name] += float(vectors.square().sum())

    yield from visit_inputs(base, delta, texts, list(side.a), visit, room)
    return sum(inside[name] / whole[name] for name in side.a) / len(side.a)


def nearest(base: Base, side: InputSide, texts: Sequence[Text], count: int, room: Plan) -> Slices[tuple[int, ...]]:
    """Indices of the `count` texts that `side` reads most under the anchor: by their strongest token's energy, mean
    over layers.

    A null space of finite energy leaves the rare protected inputs readable; these texts hold them.
    """
    strongest = {name: torch.zeros(len(texts), device=base.device) for name in side.a}

    def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        read = (vectors @ side.a[name].T).square().sum(1)
        strongest[name].scatter_reduce_(0, owners, read, "amax")

    yield from visit_inputs(base, Delta(), texts, list(side.a), visit, room)
    # Layers differ in the scale of their inputs: each counts by how far a text stands out in it.
    total = sum(read / read.mean().clamp(min=1e-12) for read in strongest.values())
    assert isinstance(total, torch.Tensor)
    return tuple(total.argsort(descending=True, stable=True)[:count].tolist())


def _sketches(
    base: Base,
    delta: Delta,
    texts: Sequence[Text],
    names: list[str],
    removed: dict[str, torch.Tensor],
    room: Plan,
) -> Slices[dict[str, tuple[Sketch, float]]]:
    """layer -> (sketch of its inputs without the removed directions, energy of the inputs whole)."""
    found = {name: Sketch(base.model.get_submodule(name).in_features, base.device) for name in names}
    whole = dict.fromkeys(names, 0.0)

    def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        energy = float(vectors.double().square().sum())
        if name in removed:
            vectors = vectors - (vectors @ removed[name].T) @ removed[name]
        found[name].add(vectors)
        whole[name] += energy

    yield from visit_inputs(base, delta, texts, names, visit, room)
    return {name: (found[name], whole[name]) for name in names}


def _shared_inputs(base: Base, text: Text) -> dict[str, str]:
    """layer -> the first layer that reads the same tensor (q for q, k and v)."""
    leaders: dict[str, str] = {}
    last: tuple[str, torch.Tensor] | None = None

    def watch(name: str, x: torch.Tensor) -> None:
        nonlocal last
        if last is None or last[1] is not x:  # readers of one tensor run one after another
            last = (name, x)
        leaders[name] = last[0]

    with base.channel.watching(watch):
        answer_logits(base, collate(base, [text]), None)
    return leaders


def _groups(base: Base, names: list[str], most: int) -> list[list[str]]:
    """Layers whose sketches fit in `most` bytes together; one at least."""
    groups: list[list[str]] = [[]]
    held = 0
    for name in names:
        need = 2 * Sketch.bytes(base.model.get_submodule(name).in_features)
        if groups[-1] and held + need > most:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += need
    return groups


def _leading(sketch: Sketch, energy: float) -> torch.Tensor:
    """The fewest directions that hold more than `energy` of the total, (k, width)."""
    values, vectors = sketch.directions()
    k = int((values.cumsum(0) < energy * sketch.total).sum()) + 1
    return vectors[:k]


def _complete(vectors: torch.Tensor, live: torch.Tensor, rank: int) -> torch.Tensor:
    """(rank, width): the live directions, and zero rows where nothing is left to read."""
    a = vectors.new_zeros(rank, vectors.shape[1])
    a[: len(vectors)] = vectors * live[:, None]
    return a.contiguous()
