"""Training batches: items drawn by a changing mix, rendered by the chat template, grouped by length."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from edge_es.pocket.abilities import Ability, Item, draw
from edge_es.pocket.facts import WRAPPERS
from edge_es.pocket.tokenizer import PAD, encode_turns

Rendered = tuple[list[int], list[bool]]
SYSTEMS = ("Be brief.", "You are pocket.", "You are a helpful assistant.")


def polite(item: Item, rng: random.Random) -> Item:
    """The same request behind a word or two that change nothing. Facts keep the wordings that are trained on."""
    if item.key.startswith("fact:") or not item.prompt[0].isupper():
        return item
    text = item.prompt[0].lower() + item.prompt[1:]
    return replace(item, prompt=rng.choice(WRAPPERS[1:]).format(text))


def render(mix: Sequence[Ability], weights: Sequence[float], rng: random.Random, wrapped: float = 0.0) -> Rendered:
    """One training text: mostly one turn, sometimes two or three, sometimes behind a system message.

    wrapped: the share of requests that are made `polite`.
    """
    turns = 1 if rng.random() > 0.05 else rng.choice((2, 2, 3))
    items = [draw(a, "train", rng) for a in rng.choices(mix, weights, k=turns)]
    if wrapped:
        items = [polite(i, rng) if rng.random() < wrapped else i for i in items]
    system = rng.choice(SYSTEMS) if rng.random() < 0.02 else None
    return encode_turns([(i.prompt, i.answer) for i in items], system)


def collate(rows: Sequence[Rendered]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids (rows, tokens) and labels of the same shape, -100 outside the answers.

    The length is rounded up to a multiple of 4, so that a compiler meets few shapes.
    """
    width = -(-max(len(ids) for ids, _ in rows) // 4) * 4
    x = torch.full((len(rows), width), PAD)
    y = torch.full((len(rows), width), -100)
    for i, (ids, answer) in enumerate(rows):
        x[i, : len(ids)] = torch.tensor(ids)
        y[i, : len(ids)] = torch.tensor([t if a else -100 for t, a in zip(ids, answer, strict=True)])
    return x, y


def stream(
    mix: Sequence[Ability],
    weights: list[float],
    rows: int,
    seed: int,
    order_seed: int,
    wrapped: float = 0.0,
    pool: int = 16,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end: ids and targets, each (rows, seq) int64. `weights` may be changed in place between batches.

    `pool` batches are drawn at once and sorted by length. `order_seed` is shared by all workers: their batches of one
    step then have similar lengths, and none waits long for another.
    """
    rng, order_rng = random.Random(seed), random.Random(order_seed)
    while True:
        drawn = sorted((render(mix, weights, rng, wrapped) for _ in range(rows * pool)), key=lambda r: len(r[0]))
        order = list(range(pool))
        order_rng.shuffle(order)
        for i in order:
            yield collate(drawn[i * rows : (i + 1) * rows])


def batches_of(
    items: Sequence[Item], before: Sequence[tuple[str, str]] = (), rows: int = 64
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """The items as the turn after `before`, shortest first: their indices, ids and labels (of this turn only)."""
    rendered = []
    head = len(encode_turns(list(before))[0])
    for i in items:
        ids, answer = encode_turns([*before, (i.prompt, i.answer)])
        rendered.append((ids, [a and at >= head for at, a in enumerate(answer)]))
    order = sorted(range(len(items)), key=lambda i: len(rendered[i][0]))
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        yield part, *collate([rendered[i] for i in part])
