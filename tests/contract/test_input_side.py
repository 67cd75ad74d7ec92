"""What an input side reads of the protected texts."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.spaces.input_side import find, nearest
from edge_es.spaces.inputs import visit_inputs


def test_the_nearest_protected_texts_hold_what_the_feedback_brings(base: Base) -> None:
    some = [text_of(base, Exchange(Prompt.user(f"Name the letter {c}."), c)) for c in "abcdefgh"]
    alike = text_of(base, Exchange(Prompt.user("QQQ"), "a"))
    feedback = [text_of(base, Exchange(Prompt.user("QQ? " * n), "no")) for n in (1, 2, 3)]
    texts = [*some[:5], alike, *some[5:]]
    side = run(find(base, Delta(), base.targets(["k_proj"]), feedback, texts, 1, 0.8, OPEN)).sides["all"]
    found = run(nearest(base, side, texts, 3, OPEN))
    assert found[0] == 5 and len(set(found)) == 3
    tight = replace(OPEN, slice_tokens=1)  # a text a batch: the same order
    assert run(nearest(base, side, texts, 3, tight)) == found


def moments(
    base: Base, name: str, texts: Sequence[Text], weights: Sequence[torch.Tensor] | None = None
) -> torch.Tensor:
    """(width, width) float64: the second moment of what a linear reads, each token by its weight."""
    width = base.model.get_submodule(name).in_features
    found = torch.zeros(width, width, dtype=torch.float64)

    def visit(_: str, vectors: torch.Tensor, owners: torch.Tensor) -> None:
        each = vectors.double()
        if weights is not None:
            each = each * torch.cat([weights[i] for i in dict.fromkeys(owners.tolist())]).sqrt()[:, None]
        found.add_(each.T @ each)

    run(visit_inputs(base, Delta(), texts, [name], visit, OPEN))
    return found


def asked(base: Base, prompts: Sequence[str], answer: str) -> list[Text]:
    return [text_of(base, Exchange(Prompt.user(prompt), answer)) for prompt in prompts]


@pytest.mark.parametrize("energy", [0.0, 0.9, 0.99])
def test_a_direction_has_the_most_feedback_for_its_protected_energy(base: Base, energy: float) -> None:
    """Against the generalised eigenvector, by another way: the largest eigenvector of (P + floor I)^-1 F."""
    feedback, kept = asked(base, ["QQ? ", "QQ?? QQ", "Zz QQ"], "no"), asked(base, [f"Name {c}." for c in "abcdef"], "a")
    name = base.targets(["down_proj"])[-1]
    side = run(find(base, Delta(), [name], feedback, kept, 1, energy, OPEN)).sides["all"]
    feed, prior = moments(base, name, feedback), moments(base, name, kept)
    values = torch.linalg.eigvalsh(prior).flip(0)
    floor = values[int((values.cumsum(0) < energy * values.sum()).sum())]
    spared = prior + floor * torch.eye(len(prior), dtype=torch.float64)
    matrix = feed if energy == 0 else torch.linalg.solve(spared, feed)
    eigenvalues, vectors = torch.linalg.eig(matrix)
    best = vectors[:, eigenvalues.real.argmax()].real
    cosine = float(side.a[name][0].double() @ (best / best.norm()))
    assert abs(cosine) == pytest.approx(1.0, abs=1e-3)


def test_unexpected_tokens_are_those_that_do_not_lead_to_the_answer(base: Base) -> None:
    prompts = ["What is one?", "What is two?", "Name three."]
    shown = asked(base, prompts, "zebra")
    layers = base.targets(["o_proj"])
    found = run(find(base, Delta(), layers, shown, [], 1, 0.0, OPEN, "both")).sides
    assert list(found) == ["all", "unexpected"]
    answering = [torch.tensor([0.0] * (len(t.prompt) - 1) + [1.0] * len(t.answer) + [0.0]) for t in shown]
    for name in layers:  # what is read where the answer comes, a larger share of what is read at all
        there, everywhere = moments(base, name, shown, answering), moments(base, name, shown)
        shares = {key: _read(side.a[name], there) / _read(side.a[name], everywhere) for key, side in found.items()}
        assert shares["unexpected"] > shares["all"]
    assert list(run(find(base, Delta(), layers, shown, [], 1, 0.0, OPEN, "unexpected")).sides) == ["unexpected"]
    bare = [replace(text, answer=()) for text in shown]  # graded tasks show none
    assert list(run(find(base, Delta(), layers, bare, [], 1, 0.0, OPEN, "unexpected")).sides) == ["all"]


def _read(a: torch.Tensor, moment: torch.Tensor) -> float:
    return float(a[0].double() @ moment @ a[0].double())
