"""The novelty subspace: input directions that the feedback excites and prior abilities do not.

For every adapted linear, with P the second moment of its protected inputs and F that of the feedback's, the rows of A
are the directions a with the most a'Fa for their a'(P + floor I)a: Fisher's discriminant between the two, made
orthonormal. The floor is the eigenvalue of P at which its leading directions hold `energy` of it: where P is far above
it a direction is as good as removed, far below it as good as free. With energy 0 they are the feedback's own principal
directions, as EVA initialisation takes them (arXiv 2410.07170).

F is taken over all tokens, which finds what is new in the inputs (a new wording), or over those tokens whose successor
in a demonstrated answer the model does not expect, which finds where a known input is to be answered otherwise (a new
style); or over each, for two candidates. `focus.py` chooses the linears. Layers whose inputs are one and the same
tensor (q, k, v; gate, up) share one sketch, and layers are taken a group at a time, so that memory stays bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from edge_es.halving import halving, in_two
from edge_es.likelihood import Text, answer_logits, batches, collate, padded, same_weights
from edge_es.memory import Plan
from edge_es.model import Base
from edge_es.slices import Slices
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta
from edge_es.spaces.inputs import visit_inputs
from edge_es.spaces.sketch import Sketch

MEMORY = 256 * 2**20  # bytes of sketches held at once
LEAST_UNEXPECTED = 1e-4  # mean over tokens; below it the answers are known already


@dataclass(frozen=True)
class Found:
    """Candidates of an input side, by the tokens that they were found by; and what share of the feedback inputs' energy
    is novel (None: nothing was protected), mean over layers."""

    sides: Mapping[str, InputSide]
    novelty_share: float | None


def find(
    base: Base,
    delta: Delta,
    layers: Sequence[str],
    feedback: Sequence[Text],
    protected: Sequence[Text],
    rank: int,
    energy: float,
    room: Plan,
    tokens: str = "all",
) -> Slices[Found]:
    """Candidates for the input side of `layers` for this feedback. `protected` may be empty (then, or with energy 0,
    nothing is spared). tokens: all, unexpected or both; where no answer has an unexpected one, all are taken."""
    leaders = _shared_inputs(base, feedback[0])
    guard = energy > 0 and len(protected) > 0
    room = replace(room, room=room.room // 2)  # the other half is the sketches'
    unexpected = (yield from _unexpected(base, delta, feedback, room)) if tokens != "all" else None
    weighings: dict[str, list[torch.Tensor] | None] = {} if unexpected is None else {"unexpected": unexpected}
    if tokens != "unexpected" or not weighings:
        weighings = {"all": None, **weighings}
    rows: dict[str, dict[str, torch.Tensor]] = {candidate: {} for candidate in weighings}
    shares: list[float] = []  # of each leader: novel
    for group in _groups(base, list(dict.fromkeys(leaders[name] for name in layers)), min(MEMORY, room.room)):
        softened: dict[str, Softening] = {}
        if guard:
            prior = yield from _sketches(base, delta, protected, group, {}, None, room)
            softened = {name: _softening(sketch, energy) for name, (sketch, _) in prior.items()}
        for candidate, weights in weighings.items():
            fresh = yield from _sketches(base, delta, feedback, group, softened, weights, room)
            for name, (sketch, whole) in fresh.items():
                values, vectors = sketch.directions()
                live = vectors[:rank][values[:rank] > 1e-6 * whole]
                rows[candidate][name] = orthonormal(softened[name](live) if guard else live, rank)
                shares.append(sketch.total / whole)
    outs = base.outs(layers)
    sides = {key: InputSide({name: made[leaders[name]] for name in layers}, outs) for key, made in rows.items()}
    return Found(sides, sum(shares) / len(shares) if guard else None)


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
    softened: Mapping[str, "Softening"],
    weights: Sequence[torch.Tensor] | None,
    room: Plan,
) -> Slices[dict[str, tuple[Sketch, float]]]:
    """layer -> (sketch of its inputs, softened, energy of the inputs whole). weights: of every text, (tokens,) fp32,
    what each of its tokens counts; None: all alike."""
    found = {name: Sketch(base.model.get_submodule(name).in_features, base.device) for name in names}
    whole = dict.fromkeys(names, 0.0)

    def visit(name: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        if weights is not None:
            each = torch.cat([weights[text] for text in dict.fromkeys(owners.tolist())])
            vectors = vectors * each.sqrt()[:, None]
        energy = float(vectors.double().square().sum())
        found[name].add(softened[name](vectors) if name in softened else vectors)
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


@dataclass(frozen=True)
class Softening:
    """Multiplication by (I + P / floor)^(-1/2), for P the second moment of protected inputs. directions: (k, width),
    orthonormal, of P; kept: (k,), what is left of a vector along each of them; other directions are left whole."""

    directions: torch.Tensor
    kept: torch.Tensor

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, width) fp32 -> (n, width)."""
        return vectors - (vectors @ self.directions.T * (1 - self.kept)) @ self.directions


def _softening(sketch: Sketch, energy: float) -> Softening:
    """The floor is the eigenvalue at which the leading directions hold more than `energy` of the total."""
    values, vectors = sketch.directions()
    at = min(int((values.cumsum(0) < energy * sketch.total).sum()), len(values) - 1)
    floor = values[at].clamp(min=1e-12)
    return Softening(vectors, (1 + values / floor).rsqrt())


def _unexpected(base: Base, delta: Delta, texts: Sequence[Text], room: Plan) -> Slices[list[torch.Tensor] | None]:
    """Of every text, (tokens,) fp32: how little each token makes the model expect the answer token that follows it, 0
    where none does; 1 in the mean over all tokens. None where nothing of an answer is unexpected."""
    found = [torch.zeros(len(text), device=base.device) for text in texts]

    @torch.inference_mode()
    def work(index: list[int]) -> None:
        batch = collate(base, [texts[i] for i in index])
        logits = answer_logits(base, batch, same_weights(base, delta, len(index)))
        missed = 1 - logits.softmax(-1).gather(-1, batch.targets[..., None])[..., 0]  # (n, c)
        for row, i in enumerate(index):
            own = batch.answer[row]
            found[i][batch.columns[own]] = missed[row][own]

    pieces = batches(texts, room.tokens(base, texts))
    yield from halving(base.costs, pieces, work, in_two, lambda index: padded(texts, index))
    tokens, total = sum(map(len, texts)), sum(float(each.sum()) for each in found)
    return [each * (tokens / total) for each in found] if total > LEAST_UNEXPECTED * tokens else None


def orthonormal(vectors: torch.Tensor, rank: int) -> torch.Tensor:
    """(rank, width): an orthonormal basis of what these (n <= rank, width) span, in their order; zero rows behind."""
    a = vectors.new_zeros(rank, vectors.shape[1])
    if len(vectors):
        q, r = torch.linalg.qr(vectors.double().T)
        a[: len(vectors)] = (q * r.diagonal().sign()).T.float()
    return a.contiguous()
