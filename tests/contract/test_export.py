"""What was learned, for others: the three kinds of export, on deltas of every space and one that was really learned."""

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from edge_es.config import Config, ModelSection
from edge_es.errors import InputError, StateError
from edge_es.export import Origin, export_delta, export_merged, export_peft, read_delta
from edge_es.export.agreement import agreement
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.model import Base, base_hash, load_base
from edge_es.sidechannel import MixedRows
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part
from edge_es.spaces.full import Entries
from edge_es.spaces.scales import Scales, norms
from edge_es.spaces.weights import scale_blocks
from edge_es.study.adapter import EdgeES
from tests.contract.conftest import load_tiny, random_delta

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
POPULATION = int(os.environ.get("EXPORT_POPULATION", "16"))  # 64, and all gates: as the daemon has it
WHOLE = "EXPORT_POPULATION" in os.environ
POSITIONS = 2000
BAR = 0.999  # top-1 agreement of next tokens
TOLERANCE = 1e-3  # of a logit, fp32 on a CPU; docs/export.md states what was measured


def origin(base: Base, delta: Delta, version: int | None = 1) -> Origin:
    return Origin(base.ref, base.quantization, base.sha256, version, delta.sha256)


def two_parts(base: Base) -> Delta:
    """Parts of different ranks on different linears, as a delta has them after renewals and focus."""
    first = random_delta(base, rank=2)
    one = random_delta(base, rank=3, seed=1).parts[0]
    assert isinstance(one.basis, InputSide)
    some = one.basis.only(base.layers[1::3])
    return Delta((*first.parts, Part(some, torch.full((some.size,), 0.02))))


def ids(base: Base, text: str = "What is 17+25? And which day comes after Monday?") -> torch.Tensor:
    return torch.tensor([base.tokenizer(text).input_ids])


@torch.no_grad()
def logits(base: Base, delta: Delta, tokens: torch.Tensor) -> torch.Tensor:
    with base.channel.using(MixedRows([delta], base.device)):
        return base.model(tokens).logits.float()


# peft


@pytest.mark.parametrize("make", [random_delta, two_parts], ids=["one part", "two parts"])
def test_peft_gives_the_same_logits(any_base: Base, make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    delta = make(any_base)
    made = export_peft(any_base, delta, tmp_path / "a", origin(any_base, delta))
    assert made.files == ("adapter_config.json", "adapter_model.safetensors", "edge-es.json") and made.notes == ()
    other = load_base(ModelSection(ref=any_base.ref, quantization=any_base.quantization, device="cpu"))
    texts = [text_of(any_base, Exchange(Prompt.user(f"Name the letter {c}."), c * 9)) for c in "abcdef"]
    found = agreement(any_base, delta, other, made.path, texts, 200)
    # int8 rounds every input to 256 steps, so that a last bit may become a step.
    assert found.max_logit < (0.05 if any_base.quantization == "int8" else TOLERANCE), found
    assert found.moved > 0.1 and found.positions > 100
    assert base_hash(any_base) == any_base.sha256


def test_peft_is_of_the_narrow_profile(base: Base, tmp_path: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import load_file

    delta = two_parts(base)
    assert max(len(a) for a, _ in delta.merged.values()) == 5
    export_peft(base, delta, tmp_path / "a", origin(base, delta))
    config = LoraConfig.from_pretrained(tmp_path / "a")
    assert (config.r, config.lora_alpha, config.bias, config.rank_pattern, config.alpha_pattern) == (
        8,
        8,
        "none",
        {},
        {},
    )
    assert not config.use_dora and not config.use_rslora and config.modules_to_save is None
    assert config.base_model_name_or_path == Path(base.ref).name  # no path of this machine
    assert set(config.target_modules) <= {f"{n}_proj" for n in ("q", "k", "v", "o", "gate", "up", "down")}
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    for name in base.layers:
        linear = base.model.get_submodule(name)
        key = f"base_model.model.{name}.lora_"
        assert tensors.pop(f"{key}A.weight").shape == (8, linear.in_features)
        assert tensors.pop(f"{key}B.weight").shape == (linear.out_features, 8)
    assert not tensors


def test_peft_fills_the_linears_of_a_name_that_did_not_move(base: Base, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    part = random_delta(base).parts[0]
    assert isinstance(part.basis, InputSide)
    side = part.basis.only([name for name in base.layers if name.endswith("layers.1.self_attn.v_proj")])
    delta = Delta((Part(side, torch.ones(side.size)),))
    export_peft(base, delta, tmp_path / "a", origin(base, delta))
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {key.split("lora")[0] for key in tensors} == {
        f"base_model.model.model.layers.{layer}.self_attn.v_proj." for layer in (0, 1)
    }
    assert not tensors["base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"].any()


def test_peft_of_a_smaller_rank_says_what_is_lost(base: Base, tmp_path: Path) -> None:
    delta = random_delta(base, rank=12)
    exact = export_peft(base, delta, tmp_path / "16", origin(base, delta))
    assert exact.notes == () and json.loads((exact.path / "adapter_config.json").read_text())["r"] == 16
    cut = export_peft(base, delta, tmp_path / "8", origin(base, delta), rank=8)
    assert len(cut.notes) == 1 and "rank 12 cut to 8" in cut.notes[0]
    with pytest.raises(InputError, match="rank 5 is not"):
        export_peft(base, delta, tmp_path / "5", origin(base, delta), rank=5)
    large = export_peft(base, random_delta(base, rank=20), tmp_path / "20", origin(base, delta))
    assert "--max-lora-rank 32" in large.notes[0]


def other_spaces(base: Base) -> Delta:
    """A delta of `scales` where there are some, else of `full`."""
    linears = {name: base.model.get_submodule(name) for name in base.layers}
    basis: Scales | Entries
    if base.quantization == "none":
        basis = Entries({name: (one.out_features, one.in_features) for name, one in linears.items()}, {})
        size = 0.02
    else:
        blocks = {name: scale_blocks(one) for name, one in linears.items()}
        basis = Scales({name: norms(linears[name], number, None) for name, (number, _) in blocks.items()}, blocks, {})
        size = 0.2
    g = torch.Generator().manual_seed(0)
    return Delta((Part(basis, torch.randn(basis.size, generator=g) * size),))


def test_peft_refuses_other_spaces_and_offers_the_rest(any_base: Base, tmp_path: Path) -> None:
    delta = other_spaces(any_base)
    with pytest.raises(StateError, match="export it as 'merged' or 'delta'"):
        export_peft(any_base, delta, tmp_path / "a", origin(any_base, delta))
    assert not list(tmp_path.iterdir())


# merged


@pytest.mark.parametrize("make", [two_parts, other_spaces, lambda base: Delta()], ids=["adapter", "other", "anchor"])
def test_merged_loads_and_answers_alike(any_base: Base, make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    delta = make(any_base)
    made = export_merged(any_base, delta, tmp_path / "m", origin(any_base, delta))
    assert "model.safetensors" in made.files and "tokenizer.json" in made.files
    merged = AutoModelForCausalLM.from_pretrained(made.path)
    assert merged.dtype == torch.bfloat16 and not hasattr(merged.config, "quantization_config")
    with torch.no_grad():
        there = merged.float()(ids(any_base)).logits
    here = logits(any_base, delta, ids(any_base))
    # Every weight is rounded to 8 bits of mantissa; int8 also rounds every input.
    assert (here - there).norm() / here.norm() < 0.03
    tokenizer = AutoTokenizer.from_pretrained(made.path)
    assert tokenizer.chat_template == any_base.tokenizer.chat_template
    assert base_hash(any_base) == any_base.sha256
    again = load_base(ModelSection(ref=str(made.path), quantization="nf4", device="cpu"))  # and is a base itself
    assert again.context == any_base.context


def test_merged_in_shards_is_the_same_model(base: Base, tmp_path: Path) -> None:
    delta = two_parts(base)
    whole = export_merged(base, delta, tmp_path / "one", origin(base, delta))
    made = export_merged(base, delta, tmp_path / "many", origin(base, delta), shard_bytes=50_000)
    assert sum(name.endswith(".safetensors") for name in made.files) > 2
    one, many = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (whole.path, made.path))
    assert one.keys() == many.keys() and all(torch.equal(one[key], many[key]) for key in one)


# delta


def settings(population: int) -> dict[str, Any]:
    """The defaults with so many members; without what only looks at a step, unless figures are wanted."""
    found: dict[str, Any] = {"search": {"population": population}, "learn": {"batch": population // 2}}
    if not WHOLE:
        found["learn"]["kl_below"] = 0.0
        found["gates"] = {"canary_kl": None}
    return found


@pytest.fixture(scope="session")
def learned() -> EdgeES:
    """Pocket after 30 steps of the alias task; with few members, since CI is to be quick."""
    from edge_es.study.embedded import embedded

    config = Config.model_validate({"model": {"device": "cpu"}, **settings(POPULATION)})
    base = load_base(config.model)
    material = embedded(base, "alias", 0, 8, 512)
    learner = EdgeES(base, config, material.events, material.protected)
    for _ in range(30):
        learner.step()
    return learner


def version_of(learner: EdgeES) -> int:
    found = learner.journal.rows()[-1].version
    assert found is not None
    return found


def test_a_learned_delta_says_the_same_in_peft(learned: EdgeES, tmp_path: Path) -> None:
    base, delta = learned.base, learned.delta
    made = export_peft(base, delta, tmp_path / "a", origin(base, delta))
    rows = (Path(__file__).parents[2] / "edge_es/pocket/tasks/alias-test.jsonl").read_text().splitlines()
    texts = [text_of(base, Exchange(Prompt.user(row["prompt"]), row["answer"])) for row in map(json.loads, rows)]
    found = agreement(base, delta, load_base(ModelSection(device="cpu")), made.path, texts, POSITIONS)
    print(f"\npocket, alias, {version_of(learned)} versions: {found}")
    assert found.positions == POSITIONS and found.top1 >= BAR
    assert found.max_logit < TOLERANCE < found.moved


@pytest.mark.skipif(not (DATA / "stories260K-hf").exists(), reason="the shared test data are not here")
def test_a_learned_delta_of_stories_says_the_same_in_peft(tmp_path: Path) -> None:
    from edge_es.memory import OPEN
    from edge_es.protected import protected_texts
    from edge_es.slices import run

    section = ModelSection(ref=str(DATA / "stories260K-hf"), device="cpu")
    base = load_base(section)
    stories = [
        one if isinstance(one, str) else one["story"]
        for one in json.loads((DATA / "tinystories_1000.json").read_text())
    ]
    taught = [
        Event(
            str(n), "demonstration", (Exchange(Prompt(text=story[:60]), " Suddenly, a dragon named Zog said hello."),)
        )
        for n, story in enumerate(stories[:64])
    ]
    config = Config.model_validate({"model": section.model_dump(), **settings(POPULATION // 2)})
    learner = EdgeES(base, config, taught, run(protected_texts(base, config.guards.protect, OPEN)))
    for _ in range(10):
        learner.step()
    made = export_peft(base, learner.delta, tmp_path / "a", origin(base, learner.delta))
    texts = [text_of(base, Exchange(Prompt(text=story[:400]), "", ended=False)) for story in stories[100:140]]
    found = agreement(base, learner.delta, load_base(section), made.path, texts, POSITIONS)
    print(f"\nstories260K, {version_of(learner)} versions: {found}")
    assert found.positions == POSITIONS and found.top1 >= BAR
    assert found.max_logit < TOLERANCE < found.moved


def test_delta_proves_where_it_comes_from(learned: EdgeES, tmp_path: Path) -> None:
    version = version_of(learned)
    made = export_delta(learned.journal, version, tmp_path / "d", origin(learned.base, learned.delta, version))
    found = read_delta(made.path)
    assert found.delta.sha256 == learned.delta.sha256 and (found.rows, found.since) == (version, 0)
    assert found.origin.base_sha256 == learned.base.sha256
    text = (made.path / "ledger.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["version"] for row in rows] == list(range(version + 1))
    assert not any(
        event.exchanges[0].answer in text
        for event in list(learned._events.values())[:5]
        if len(event.exchanges[0].answer) > 6
    )


def test_delta_of_an_earlier_version_behind_a_snapshot(learned: EdgeES, tmp_path: Path) -> None:
    from edge_es import ledger
    from edge_es.ledger import MemoryJournal
    from edge_es.spaces.delta import pack

    journal = MemoryJournal()
    for row in learned.journal.rows():
        journal.append(row, {row.side: learned.journal.blob(row.side)} if row.kind == "basis" and row.side else {})
    middle = version_of(learned) // 2
    journal.save_snapshot(middle, pack(ledger.rebuild(journal, middle)))
    after = middle + 2
    delta = ledger.rebuild(journal, after)
    made = export_delta(journal, after, tmp_path / "d", origin(learned.base, delta, after))
    found = read_delta(made.path)
    assert (found.since, found.rows, found.delta.sha256) == (middle, 2, delta.sha256)


@pytest.mark.parametrize("what", ["ledger.jsonl", "delta.safetensors", "edge-es.json", "blobs"])
def test_delta_that_was_altered_is_refused(learned: EdgeES, what: str, tmp_path: Path) -> None:
    version = version_of(learned)
    place = export_delta(learned.journal, version, tmp_path / "d", origin(learned.base, learned.delta, version)).path
    victim = next((place / what).iterdir()) if what == "blobs" else place / what
    data = victim.read_bytes()
    if what == "ledger.jsonl":
        rows = [json.loads(line) for line in data.decode().splitlines()]
        rows[-1]["shaped"][0] = (float.fromhex(rows[-1]["shaped"][0]) + 0.5).hex()
        victim.write_text("\n".join(map(json.dumps, rows)) + "\n")
    elif what == "edge-es.json":
        victim.write_text(data.decode().replace(learned.delta.sha256, "0" * 64))
    else:
        victim.write_bytes(data[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(StateError, match=r"damaged|replay"):
        read_delta(place)


# folders


def test_a_folder_that_is_taken_is_refused_and_a_failure_leaves_nothing(base: Base, tmp_path: Path) -> None:
    delta = random_delta(base)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(StateError, match="not empty"):
        export_peft(base, delta, tmp_path / "full", origin(base, delta))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="no folder"):
        export_merged(base, delta, tmp_path / "file", origin(base, delta))
    (tmp_path / "empty").mkdir()
    export_peft(base, delta, tmp_path / "empty", origin(base, delta))
    broken = replace(base, tokenizer=None)
    with pytest.raises(AttributeError):
        export_merged(broken, delta, tmp_path / "m", origin(base, delta))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


@pytest.mark.parametrize("kind", ["peft", "merged"])
def test_a_full_disk_is_said_and_leaves_nothing(
    base: Base, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **more: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    delta = random_delta(base)
    write = export_peft if kind == "peft" else export_merged
    with pytest.raises(OSError) as caught:  # of which the service makes its own line, as of any other
        write(base, delta, tmp_path / "x", origin(base, delta))
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
    assert math.isclose(delta.norm(), random_delta(load_tiny(Path(base.ref), "nf4")).norm())
