"""PEFT adapters as deltas: exact for plain LoRA of any rank and scale, refused in one line for all else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from edge_es import ledger
from edge_es.adoption import adopt
from edge_es.errors import InputError, StateError
from edge_es.export import Origin, export_peft, read_peft
from edge_es.ledger import MemoryJournal, anchor_row
from edge_es.model import Base
from edge_es.sidechannel import MixedRows
from edge_es.spaces.adapter import rank
from edge_es.spaces.delta import Delta
from edge_es.state import resume
from tests.contract.conftest import load_tiny, random_delta


def adapter(folder: Path, place: Path, seed: int = 0, **options: Any) -> Path:
    """An adapter as peft saves one, its weights random."""
    torch.manual_seed(seed)
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **options}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), LoraConfig(task_type="CAUSAL_LM", **chosen))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_" in name:
                tensor.normal_(0, 0.1)
    model.save_pretrained(place)
    return place


@torch.no_grad()
def logits(base: Base, delta: Delta) -> torch.Tensor:
    ids = torch.tensor([base.tokenizer("Which day comes after Monday?").input_ids])
    with base.channel.using(MixedRows([delta], base.device)):
        return base.model(ids).logits


PLAIN: dict[str, dict[str, Any]] = {
    "one rank": {},
    "all linears": {"target_modules": "all-linear", "r": 16},
    "patterns": {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 30}},
    "rsLoRA": {"use_rslora": True},
    "some layers": {"layers_to_transform": [1]},
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
def test_plain_lora_gives_the_same_logits(tiny_folder: Path, options: dict[str, Any], tmp_path: Path) -> None:
    from peft import PeftModel

    place = adapter(tiny_folder, tmp_path / "a", **options)
    base = load_tiny(tiny_folder, "none")
    delta = read_peft(base, place)
    ids = torch.tensor([base.tokenizer("Which day comes after Monday?").input_ids])
    with torch.no_grad():
        there = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), place)(ids).logits
    torch.testing.assert_close(logits(base, delta), there, atol=1e-4, rtol=1e-4)
    assert (there - logits(base, Delta())).abs().max() > 0.01
    for a in delta.parts[0].basis.a.values():  # type: ignore[attr-defined]
        torch.testing.assert_close(a @ a.T, torch.eye(len(a)), atol=1e-5, rtol=0)


def test_what_was_exported_comes_back(base: Base, tmp_path: Path) -> None:
    delta = random_delta(base, rank=3)
    export_peft(base, delta, tmp_path / "a", Origin("elsewhere", "nf4", base.sha256, 1, delta.sha256))
    again = read_peft(base, tmp_path / "a")  # whatever it is called: its note names the base by its hash
    assert rank(again) == 3  # the padding is gone
    torch.testing.assert_close(logits(base, again), logits(base, delta), atol=1e-4, rtol=1e-4)


def edit(place: Path, **changes: Any) -> Path:
    path = place / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return place


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
    "DoRA": ({"use_dora": True}, "use_dora"),
    "bias": ({"bias": "all"}, "bias is 'all'"),
    "lora bias": ({"lora_bias": True}, "lora_bias"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "token indices": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "replication": ({"layer_replication": [[0, 1]]}, "layer_replication"),
    "a moved base": ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
    "something new": ({"use_miracle": True}, "use_miracle"),
    "another base": ({"base_model_name_or_path": "meta-llama/Llama-3.2-1B"}, "for base 'meta-llama/Llama-3.2-1B'"),
    "a rank of nothing": ({"r": 0}, "r of model"),
    "a pattern without end": ({"rank_pattern": {"(" * 3: 4}}, "cannot be used"),
}


@pytest.mark.parametrize(("changes", "line"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_lora_of_this_base_is_refused(
    base: Base, tiny_folder: Path, changes: dict[str, Any], line: str, tmp_path: Path
) -> None:
    place = edit(adapter(tiny_folder, tmp_path / "a"), **changes)
    with pytest.raises(InputError) as caught:
        read_peft(base, place)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_any_base_takes_it_by_its_shape_alone(base: Base, tiny_folder: Path, tmp_path: Path) -> None:
    place = edit(adapter(tiny_folder, tmp_path / "a"), base_model_name_or_path="somebody/else")
    assert rank(read_peft(base, place, any_base=True)) == 4
    tensors = load_file(place / "adapter_model.safetensors")
    some = next(key for key in tensors if "lora_A" in key)
    broken = {
        "has no linear": {some.replace("layers.0", "layers.7"): tensors[some]},
        "another shape": {some: tensors[some][:, :-1].contiguous()},
        "not finite": {some: tensors[some] * torch.inf},
        "no part of a plain LoRA": {some.replace("lora_A", "lora_embedding_A"): tensors[some]},
        "changes nothing": {key: tensor * 0 for key, tensor in tensors.items()},
    }
    for line, changed in broken.items():
        both = {key: tensor.clone() for key, tensor in {**tensors, **changed}.items()}
        save_file(both, place / "adapter_model.safetensors")
        with pytest.raises(InputError, match=line):
            read_peft(base, place, any_base=True)


def test_folders_that_hold_no_adapter_say_so(base: Base, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no adapter_config.json"):
        read_peft(base, tmp_path)
    place = adapter(tiny_folder, tmp_path / "a")
    (place / "adapter_model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(StateError, match="cannot be read"):
        read_peft(base, place)
    (place / "adapter_model.safetensors").unlink()
    (place / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(StateError, match="safe_serialization"):
        read_peft(base, place)


def test_an_import_is_a_version_that_replays(base: Base, tiny_folder: Path, tmp_path: Path) -> None:
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    with pytest.raises(StateError, match="learned nothing"):
        adopt(journal, Delta(), "for a test")
    delta = read_peft(base, adapter(tiny_folder, tmp_path / "a"))
    row = adopt(journal, delta, "for a test")
    assert (row.kind, row.version, row.parent) == ("import", 1, 0)
    assert ledger.rebuild(journal, 1).sha256 == delta.sha256
    assert ledger.verify(journal) == {"versions": 2, "replayed": 2, "mismatches": 0, "compacted": 0, "since": 0}
    state = resume(journal, base.device)
    assert state.protection is None and state.walk == pytest.approx(delta.norm() ** 2)
    with pytest.raises(StateError, match="rollback 0"):
        adopt(journal, delta, "again")
    ledger.rollback(journal, 0, "for a test")
    assert not resume(journal, base.device).delta.parts
    assert adopt(journal, delta, "again").version == 3
