"""Scores a model on probe files: exact match by teacher forcing, graded answers greedily, choices by likelihood."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from edge_es.pocket.abilities import Item
from edge_es.pocket.batches import batches_of
from edge_es.pocket.tokenizer import END, PAD, encode_turns

MAX_ANSWER = 48  # bytes; the longest sentence of the grammar is shorter


def load(folder: Path, nf4: bool, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a folder, as NF4 with double quantization or as it is. Products are computed in `dtype`."""
    if not nf4:
        return AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype).eval().requires_grad_(False)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = AutoModelForCausalLM.from_pretrained(str(folder), quantization_config=config, dtype=dtype, device_map="cpu")
    for module in model.modules():  # else the first forward rewrites the packed weights on some CPUs
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval().requires_grad_(False)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@torch.no_grad()
def forced(
    model: Any, pairs: Sequence[tuple[str, str]], before: Sequence[tuple[str, str]] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each (prompt, answer): is each token of the answer, end included, the greedy one; and its log-likelihood.

    The first equals exact match of the greedy answer. Both (pairs,). before: turns that the chat already holds.
    """
    hit, likelihood = torch.zeros(len(pairs), dtype=torch.bool), torch.zeros(len(pairs))
    for where, x, y in batches_of([Item(p, a, "") for p, a in pairs], before):
        logits = model(input_ids=x, use_cache=False).logits[:, :-1].float()
        wanted = y[:, 1:]
        hit[where] = ((logits.argmax(-1) == wanted) | (wanted == -100)).all(1)
        nll = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-100, reduction="none")
        likelihood[where] = -nll.sum(1)
    return hit, likelihood


@torch.no_grad()
def greedy(model: Any, prompts: Sequence[str], limit: int = MAX_ANSWER, rows: int = 64) -> list[str]:
    """The greedy answers, without the end token; prompts of one length are decoded together, so nothing is padded."""
    heads = [encode_turns([(p, "")])[0][:-1] for p in prompts]
    by_length: dict[int, list[int]] = {}
    for i, head in enumerate(heads):
        by_length.setdefault(len(head), []).append(i)
    answers = [""] * len(prompts)
    for group in by_length.values():
        for start in range(0, len(group), rows):
            part = group[start : start + rows]
            x, cache = torch.tensor([heads[i] for i in part]), None
            made: list[torch.Tensor] = []
            done = torch.zeros(len(part), dtype=torch.bool)
            while len(made) < limit and not bool(done.all()):
                out = model(input_ids=x, past_key_values=cache, use_cache=True)
                x, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
                x[done] = PAD
                done |= x[:, 0] == END
                made.append(x)
            for i, ids in zip(part, torch.cat(made, 1).tolist(), strict=True):
                answers[i] = bytes(t for t in ids if t < 256).decode(errors="replace")
    return answers


def score(model: Any, rows: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Whether each row is right, (rows,) bool. All rows of one kind: answer, grader (regex) or choices."""
    if "choices" in rows[0]:
        pairs = [(r["prompt"], c) for r in rows for c in r["choices"]]
        likelihood = forced(model, pairs)[1].view(len(rows), -1)
        length = torch.tensor([len(c) for _, c in pairs]).view(len(rows), -1)
        return (likelihood / length).argmax(1) == torch.tensor([r["label"] for r in rows])
    if "answer" in rows[0]:
        return forced(model, [(r["prompt"], r["answer"]) for r in rows])[0]
    answers = greedy(model, [r["prompt"] for r in rows])
    graded = [re.fullmatch(r["grader"]["pattern"], a) is not None for r, a in zip(rows, answers, strict=True)]
    return torch.tensor(graded)
