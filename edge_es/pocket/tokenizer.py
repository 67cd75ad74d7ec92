"""A byte-level tokenizer: id b is byte b for b < 256, then the special tokens. Any text in, the same text out."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 320  # a multiple of 64; the ids without a use are named, so that each id decodes
PAD, END, USER, ASSISTANT, SYSTEM = range(256, 261)
SPECIALS = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def byte_characters() -> dict[str, int]:
    """The printable character that stands for each byte in `tokenizers`' byte-level alphabet, mapped to the byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    for shift, b in enumerate(b for b in range(256) if b not in set(printable)):
        table[chr(256 + shift)] = b
    return table


def build() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, of length VOCAB_SIZE."""
    raw = Tokenizer(models.BPE(vocab=byte_characters(), merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    names = [*SPECIALS, *(f"<|reserved_{i}|>" for i in range(VOCAB_SIZE - 256 - len(SPECIALS)))]
    raw.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    tok = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        model_max_length=512,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tok.chat_template = CHAT_TEMPLATE
    return tok


def encode_turns(turns: list[tuple[str, str]], system: str | None = None) -> tuple[list[int], list[bool]]:
    """What the chat template makes of (user, assistant) turns: token ids, and which of them are an answer's.

    The end token after an answer belongs to the answer.
    """
    ids: list[int] = []
    if system is not None:
        ids += [SYSTEM, *system.encode(), END]
    answer = [False] * len(ids)
    for user, reply in turns:
        head, tail = [USER, *user.encode(), END, ASSISTANT], [*reply.encode(), END]
        ids += head + tail
        answer += [False] * len(head) + [True] * len(tail)
    return ids, answer


def save(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json (the template included) into `folder`."""
    build().save_pretrained(str(folder))
