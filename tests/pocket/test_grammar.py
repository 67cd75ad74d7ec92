"""The grammar's parser and its regular expressions judge alike."""

import random

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_es.pocket import grammar
from edge_es.pocket.grammar import ADJECTIVES, NOUNS, VERBS, Topic

TOPICS = st.builds(Topic, st.sampled_from(NOUNS), st.booleans(), st.sampled_from(NOUNS))
WORDS = ["The", "the", "a", "an", *ADJECTIVES, *NOUNS[:4], "ants", "cats", *VERBS[:2], "sees", "likes"]


def accepted(topic: Topic, text: str) -> bool:
    return regex.fullmatch(grammar.pattern(topic), text) is not None


@given(TOPICS, st.integers(0, 10**6))
def test_generated_sentences_parse_to_their_topic(topic: Topic, seed: int) -> None:
    text = grammar.generate(topic, random.Random(seed))
    assert grammar.parse(text) == topic
    assert accepted(topic, text)


@given(TOPICS, TOPICS, st.integers(0, 10**6))
def test_a_sentence_on_another_topic_is_refused(topic: Topic, other: Topic, seed: int) -> None:
    text = grammar.generate(other, random.Random(seed))
    assert accepted(topic, text) == (topic == other)


@settings(max_examples=300)
@given(TOPICS, st.integers(0, 10**6), st.data())
def test_parser_and_regex_agree_on_damaged_sentences(topic: Topic, seed: int, data: st.DataObject) -> None:
    words = grammar.generate(topic, random.Random(seed))[:-1].split(" ")
    kind = data.draw(st.sampled_from(["swap", "drop", "add", "replace"]))
    at = data.draw(st.integers(0, len(words) - 1))
    if kind == "swap":
        other = data.draw(st.integers(0, len(words) - 1))
        words[at], words[other] = words[other], words[at]
    elif kind == "drop":
        del words[at]
    elif kind == "add":
        words.insert(at, data.draw(st.sampled_from(WORDS)))
    else:
        words[at] = data.draw(st.sampled_from(WORDS))
    text = " ".join(words) + data.draw(st.sampled_from([".", "", "..", " ."]))
    assert accepted(topic, text) == (grammar.parse(text) == topic)


@given(st.text(max_size=30))
def test_any_text_can_be_judged(text: str) -> None:
    assert grammar.parse(text) is None or text.startswith("The ")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The cat sees a red ball.", True),
        ("The ugly ants see an egg.", True),
        ("The cat see a red ball.", False),
        ("The cat sees an red ball.", False),
        ("The cat sees a apple.", False),
        ("The cats sees the ball.", False),
        ("the cat sees the ball.", False),
        ("The  cat sees the ball.", False),
    ],
)
def test_examples(text: str, right: bool) -> None:
    assert (grammar.parse(text) is not None) == right


def test_a_scrambled_sentence_is_no_sentence() -> None:
    rng = random.Random(0)
    for _ in range(200):
        assert grammar.parse(grammar.scramble("The cat sees the ball.", rng)) is None
