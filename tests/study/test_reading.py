"""Quick reading answers what scoring answers, whatever the items begin with."""

import random

import pytest
import torch

from edge_es.config import ModelSection
from edge_es.likelihood import Text, collate, score
from edge_es.model import Base, load_base
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.study.directions import direction
from edge_es.study.known import rows_of
from edge_es.study.reading import greedy, groups
from edge_es.study.suites import exact


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(ModelSection(ref="pocket", device="cpu"))


@pytest.fixture(scope="module")
def texts(base: Base) -> list[Text]:
    taken: set[str] = set()
    items = rows_of(
        "count", "probe", 200, random.Random(1), taken
    )  # of three wordings, enough of each to be read apart
    items += rows_of("reverse", "probe", 20, random.Random(2), taken)
    random.Random(0).shuffle(items)
    return list(exact(base, [{"prompt": i.prompt, "answer": i.answer} for i in items]).texts)


def test_answers_are_those_of_scoring(base: Base, texts: list[Text]) -> None:
    assert any(collate(base, [texts[i] for i in group]).shared for group in groups(texts))
    rng, shares = random.Random(1), []
    deltas = [Delta()] + [direction(base, texts, texts, rng).delta(size) for size in (20.0, 200.0)]
    for delta in deltas:
        found = greedy(base, delta, texts)
        assert found == run(score(base, delta, texts)).greedy.tolist()
        shares.append(sum(found) / len(found))
    assert shares[0] > 0.98 and min(shares) < 0.9


def test_groups_hold_every_text_once_and_are_wordings() -> None:
    rng = random.Random(0)

    def some(wording: tuple[int, ...], count: int) -> list[Text]:
        return [Text((*wording, *(rng.randrange(100, 126) for _ in range(4))), (1,)) for _ in range(count)]

    wordings = ((1, 2, 3), (1, 2, 3, 4, 5), (1, 7), (9,))
    texts = [text for wording in wordings[:3] for text in some(wording, 120)] + some(wordings[3], 10)
    rng.shuffle(texts)
    found = groups(texts)
    assert sorted(i for group in found for i in group) == list(range(len(texts)))
    assert sorted(map(len, found)) == [10, 120, 120, 120]
    for group in found:
        assert any({texts[i].prompt[:-4] for i in group} == {wording} for wording in wordings)


def test_texts_that_are_all_the_same_are_one_group() -> None:
    assert groups([Text((1, 2, 3), (4,))] * 100) == [list(range(100))]
    assert groups([]) == []


def test_a_direction_is_of_norm_one_and_follows_its_seed(base: Base, texts: list[Text]) -> None:
    kinds = set()
    for seed in range(6):
        one, again = (direction(base, texts, texts, random.Random(seed)) for _ in range(2))
        assert one.delta(3.0).norm() == pytest.approx(3.0, rel=1e-5)
        assert torch.equal(one.b, again.b) and one.side.sha256 == again.side.sha256
        kinds.add(one.learned)
    assert kinds == {True, False}
