"""The committed weights: their size, and their scores after NF4 on a sample of every suite."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from edge_es.pocket import MODEL_DIR, PROBES_DIR, TASKS_DIR
from edge_es.pocket.evaluate import FIRST_TURN
from edge_es.pocket.scoring import forced, greedy, load, read, score

SAMPLE = 80


@pytest.fixture(scope="module")
def model():
    return load(MODEL_DIR, nf4=True)


def test_limits() -> None:
    plain = load(MODEL_DIR, nf4=False)
    assert sum(p.numel() for p in plain.parameters()) <= 1_500_000
    assert (MODEL_DIR / "model.safetensors").stat().st_size <= 8_000_000
    for name, module in plain.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert module.in_features % 64 == 0, name
            assert module.out_features % 64 == 0, name
    assert plain.config.architectures == ["LlamaForCausalLM"]
    end = GenerationConfig.from_pretrained(str(MODEL_DIR))
    assert (end.eos_token_id, end.pad_token_id) == (257, 256)


def test_every_projection_is_really_four_bits(model) -> None:
    names = [n for n, m in model.named_modules() if type(m).__name__ == "Linear4bit"]
    assert len(names) == 7 * model.config.num_hidden_layers
    assert all(model.get_submodule(n).weight.dtype == torch.uint8 for n in names)


@pytest.mark.parametrize("path", sorted(PROBES_DIR.glob("*.jsonl")), ids=lambda p: p.stem)
def test_each_prior_ability_survives_nf4(model, path: Path) -> None:
    rows = read(path)
    assert score(model, rows[:: len(rows) // SAMPLE]).double().mean() >= 0.97


def test_base_scores_of_the_tasks(model) -> None:
    def base(name: str) -> float:
        return score(model, read(TASKS_DIR / f"{name}-test.jsonl")[:200]).double().mean().item()

    assert base("alias") <= 0.05
    assert base("style") <= 0.05
    assert 0.2 <= base("weak_skill") <= 0.5


def test_teacher_forcing_agrees_with_greedy_decoding(model) -> None:
    rows = [r for name in ("add", "facts", "reverse") for r in read(PROBES_DIR / f"{name}.jsonl")[:30]]
    rows += [{"prompt": r["prompt"], "answer": r["answer"]} for r in read(TASKS_DIR / "weak_skill-test.jsonl")[:40]]
    decoded = greedy(model, [r["prompt"] for r in rows])
    exact = torch.tensor([d == r["answer"] for d, r in zip(decoded, rows, strict=True)])
    assert torch.equal(exact, forced(model, [(r["prompt"], r["answer"]) for r in rows])[0])


def test_a_second_turn_is_answered_like_a_first(model) -> None:
    scores = []
    for name in ("add", "calendar", "compare", "count", "facts", "letters", "reverse", "sort", "uppercase"):
        rows = read(PROBES_DIR / f"{name}.jsonl")[:40]
        scores.append(forced(model, [(r["prompt"], r["answer"]) for r in rows], FIRST_TURN)[0].double().mean().item())
    assert min(scores) >= 0.7  # the card states the loss, suite by suite
    assert sum(scores) / len(scores) >= 0.9


def test_the_chat_template_and_generate_answer_a_request(model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL_DIR))
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=20, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(out) == "Paris<|end|>"


def test_the_paths_cost_no_torch() -> None:
    code = "import sys, json, edge_es.pocket; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
