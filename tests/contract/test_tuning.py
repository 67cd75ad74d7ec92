"""`edge_es.tune`: the real turn driven by a reward function, with what it promises to callers of both conventions."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import edge_es
from edge_es.errors import ConfigError, InputError
from edge_es.model import base_hash
from tests.contract.conftest import load_tiny

SMALL = {
    "search": {"population": 8, "focus": False},
    "learn": {"batch": 4, "groups": 2},
    "gates": {"min_reliability": -1.0, "max_tie_rate": 1.0},
}
CHATS = [[{"role": "user", "content": f"Name {n} letters."}] for n in range(6)]


def vowels(completions: list[Any], **columns: Any) -> list[float]:
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def test_the_example_of_the_documentation_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(code) == 1 and len([line for line in code[0].splitlines() if line]) <= 10
    whole = edge_es.tune

    def briefly(*arguments: Any, **given: Any) -> Any:
        return whole(*arguments, **{**given, "steps": 2, "config": SMALL, "progress": False})

    monkeypatch.setattr(edge_es, "tune", briefly, raising=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code[0], "docs/library.md", "exec"), names)
    tuned = names["tuned"]
    assert len(tuned.history) == 2 and all(0 <= row["reward"] <= 1 for row in tuned.history)
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()
    assert base_hash(tuned.base) == tuned.base.sha256


def test_rewards_get_prompts_completions_and_their_columns(tiny_folder: Path) -> None:
    base, seen = load_tiny(tiny_folder, "nf4"), []

    def reward(completions: list[Any], prompts: list[Any], number: list[int], **rest: Any) -> list[float]:
        assert not rest and len(completions) == len(prompts) == len(number)
        assert all(prompts[i] == CHATS[n] for i, n in enumerate(number))
        assert all(one[0]["role"] == "assistant" for one in completions)
        seen.append(len(completions))
        return vowels(completions)

    tuned = edge_es.tune(
        base,
        prompts=CHATS,
        reward=reward,
        columns={"number": list(range(6))},
        steps=2,
        max_tokens=4,
        config=SMALL,
        progress=False,
    )
    assert seen == [8] * 4  # two steps of two groups: four members on two prompts each
    assert [row["step"] for row in tuned.history] == [2, 3] and tuned.version == 3
    assert tuned.delta.norm() > 0 and base_hash(base) == base.sha256
    answers = tuned.generate(CHATS, max_tokens=4)
    assert len(answers) == 6 and tuned.generate(CHATS, max_tokens=4) == answers
    assert tuned.generate(CHATS, max_tokens=4, anchor=True) == tuned.generate(CHATS, max_tokens=4, anchor=True)


def test_a_reward_climbs_and_texts_are_continued(tiny_folder: Path) -> None:
    texts = [f"word {n} is" for n in range(8)]
    strong = {
        **SMALL,
        "search": {"population": 32, "sigma": 0.1, "alpha": 1.0, "step_kl": 1.0},
        "gates": {"canary_kl": 100.0},
    }
    tuned = edge_es.tune(
        str(tiny_folder),
        prompts=texts,
        reward=lambda completions: vowels(completions),
        steps=12,
        max_tokens=6,
        config=strong,
        progress=False,
    )
    after, before = (sum(vowels(tuned.generate(texts, 6, anchor=anchor))) for anchor in (False, True))
    assert after > before + 0.5, (before, after)


def test_a_loaded_model_keeps_its_weights_and_its_own_answers(tiny_folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder)
    ids = torch.tensor([tokenizer("hello").input_ids])
    with torch.no_grad():
        before = model(ids).logits
        tuned = edge_es.tune(
            model,
            tokenizer=tokenizer,
            prompts=["hello"] * 2 + ["you"],
            reward=vowels,
            steps=1,
            max_tokens=4,
            config=SMALL,
            progress=False,
        )
        assert torch.equal(model(ids).logits, before)
    assert tuned.base.quantization == "none" and tuned.base.model is model
    with pytest.raises(ConfigError, match="tokenizer"):
        edge_es.tune(model, prompts=["a"], reward=vowels)


def test_what_was_learned_is_saved_in_each_form_and_in_no_other(tiny_folder: Path, tmp_path: Path) -> None:
    """Any other word once wrote a PEFT adapter."""
    base = load_tiny(tiny_folder, "nf4")
    tuned = edge_es.tune(base, prompts=CHATS, reward=vowels, steps=2, max_tokens=4, config=SMALL, progress=False)
    assert tuned.version > 0
    for kind in ("peft", "merged", "delta"):
        assert tuned.save(tmp_path / kind, kind).kind == kind
    assert edge_es.read_delta(tmp_path / "delta").delta.sha256 == tuned.delta.sha256
    with pytest.raises(InputError, match="kind 'gguf' is none; take one of peft, merged, delta"):
        tuned.save(tmp_path / "other", "gguf")  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


def test_an_interruption_returns_what_was_learned(tiny_folder: Path) -> None:
    calls = 0

    def reward(completions: list[Any], **columns: Any) -> list[float]:
        nonlocal calls
        calls += 1
        if calls > 2:  # in the second step
            raise KeyboardInterrupt
        return vowels(completions)

    tuned = edge_es.tune(
        load_tiny(tiny_folder, "nf4"), prompts=CHATS, reward=reward, steps=9, max_tokens=4, config=SMALL, progress=False
    )
    assert len(tuned.history) == 1 and tuned.version == 2


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no prompts": ({"prompts": []}, "no prompts"),
    "no prompt": ({"prompts": [3]}, "is no prompt"),
    "a column too short": ({"columns": {"x": [1]}}, "column 'x' has 1 values for 6 prompts"),
    "a column of ours": ({"columns": {"prompts": CHATS}}, "cannot be called"),
    "too few rewards": ({"reward": lambda completions: [1.0]}, "returned 1 rewards"),
    "no numbers": ({"reward": lambda completions: [None] * len(completions)}, "list of numbers"),
    "nothing": ({"reward": lambda completions: None}, "list of numbers"),
    "too long": ({"max_tokens": 1000}, "context holds"),
}


@pytest.mark.parametrize(("given", "line"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(tiny_folder: Path, given: dict[str, Any], line: str) -> None:
    usual = {"prompts": CHATS, "reward": vowels, "steps": 1, "max_tokens": 4, "config": SMALL, "progress": False}
    with pytest.raises(InputError, match=line):
        edge_es.tune(load_tiny(tiny_folder, "nf4"), **{**usual, **given})


def test_what_is_wrong_in_a_configuration_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"search\.popluation"):
        edge_es.tune("pocket", prompts=["a"], reward=vowels, config={"search": {"popluation": 3}})
    with pytest.raises(ConfigError, match="odd"):
        edge_es.tune("pocket", prompts=["a"], reward=vowels, config={"search": {"population": 3}})


def test_importing_the_package_imports_no_torch_and_all_names_are_there() -> None:
    code = "import sys, edge_es; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules), edge_es.__version__"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in edge_es.__all__:
        assert getattr(edge_es, name) is not None
    assert set(edge_es.__all__) <= set(dir(edge_es))
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        edge_es.tunes  # noqa: B018
