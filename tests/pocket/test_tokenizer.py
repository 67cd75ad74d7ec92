"""The byte-level tokenizer as a user gets it from the model folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from edge_es.pocket import MODEL_DIR
from edge_es.pocket.tokenizer import END, PAD, VOCAB_SIZE, encode_turns

TOKENIZER = AutoTokenizer.from_pretrained(str(MODEL_DIR))


@given(st.text().filter(lambda t: "<|" not in t))
def test_any_text_goes_in_as_its_bytes_and_comes_out_the_same(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids == list(text.encode())
    assert TOKENIZER.decode(ids) == text


@given(st.binary(max_size=40))
def test_any_bytes_decode_as_python_does_or_to_replacement_marks(data: bytes) -> None:
    text = TOKENIZER.decode(list(data))
    try:
        assert text == data.decode()
    except UnicodeDecodeError:
        assert "\ufffd" in text


def test_special_tokens() -> None:
    assert len(TOKENIZER) == VOCAB_SIZE
    assert VOCAB_SIZE % 64 == 0
    assert TOKENIZER.eos_token_id == END
    assert TOKENIZER.pad_token_id == PAD
    assert TOKENIZER.decode(list(range(VOCAB_SIZE)), skip_special_tokens=True).encode()[:128] == bytes(range(128))


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_training_texts_are_what_the_chat_template_makes(system: str | None) -> None:
    turns = [("Reverse cat.", "tac"), ("Grüße?", "Hello!"), ("1+2=", "3")]
    messages = [{"role": "system", "content": system}] if system else []
    for user, reply in turns:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
    ids, answer = encode_turns(turns, system)
    assert TOKENIZER.apply_chat_template(messages)["input_ids"] == ids
    assert TOKENIZER.decode([t for t, a in zip(ids, answer, strict=True) if a]) == "tac<|end|>Hello!<|end|>3<|end|>"
    head = TOKENIZER.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    assert head == ids[: len(head)]
    assert len(ids) - len(head) == len("3") + 1
