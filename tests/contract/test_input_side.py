"""What an input side reads of the protected texts."""

from dataclasses import replace

from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.memory import OPEN
from edge_es.model import Base
from edge_es.slices import run
from edge_es.spaces.delta import Delta
from edge_es.spaces.input_side import find, nearest


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
