"""Inputs whose directions must not be disturbed: the user's, the model's own, or sampled from the anchor itself."""

import json
from pathlib import Path

from edge_es.answers import Row, Sampling
from edge_es.config import ProtectSection
from edge_es.decode import generate
from edge_es.errors import InputError
from edge_es.feedback import Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.likelihood import Text
from edge_es.memory import Plan
from edge_es.model import Base, encode_prompt
from edge_es.slices import Slices
from edge_es.spaces.delta import Delta

SAMPLES = 64  # texts drawn from the anchor where nobody names any
SAMPLE_TOKENS = 64


def protected_texts(base: Base, section: ProtectSection, room: Plan) -> Slices[list[Text]]:
    """The protected texts, tokenized. Raises InputError naming the file and the line of a bad item."""
    if section.inputs == "auto" and base.ref != "pocket":
        return (yield from _from_anchor(base, room))
    if section.inputs == "auto":
        from edge_es.pocket import PROTECTED

        return read_texts(base, PROTECTED)
    return read_texts(base, Path(section.inputs).expanduser())


def read_texts(base: Base, path: Path) -> list[Text]:
    """Items {"prompt" | "messages", "answer"?} or {"text"}, a JSON object a line. Raises InputError naming file and
    line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"protected inputs {path} cannot be read: {error}", "guards.protect.inputs") from None
    texts = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            texts.append(_text(base, json.loads(line)))
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"protected inputs {path}, line {number}: {error}; an item is "
                '{"prompt": "...", "answer": "..."} or {"text": "..."}',
                "guards.protect.inputs",
            ) from None
    return texts


def _text(base: Base, item: dict[str, str]) -> Text:
    if "text" in item:
        ids = encode_prompt(base, Prompt(text=item["text"]), room=0)
        return Text(ids[:1], ids[1:])
    prompt = Prompt.from_json(item) if "messages" in item else Prompt.user(item["prompt"])
    return text_of(base, Exchange(prompt, item.get("answer", ""), "answer" in item))


def _from_anchor(base: Base, room: Plan) -> Slices[list[Text]]:
    """What the anchor says by itself at temperature 1: behind an empty user turn, or behind the start token alone."""
    start: tuple[int, ...]
    if base.tokenizer.chat_template:
        start = encode_prompt(base, Prompt.user(""))
    elif base.tokenizer.bos_token_id is not None:
        start = (base.tokenizer.bos_token_id,)
    else:
        start = (base.end_ids[0],)
    length = min(SAMPLE_TOKENS, base.context - len(start))
    rows = [Row(start, Delta(), Sampling(length, temperature=1.0, seed=seed)) for seed in range(SAMPLES)]
    answers = yield from generate(base, rows, max_rows=room.answers(base, len(start) + length, SAMPLES))
    return [Text(start, tuple(answer.tokens)) for answer in answers]
