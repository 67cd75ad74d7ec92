"""Probes, tasks and protected inputs: disjoint, counted, well-formed, and what the script writes."""

import json
import random
from pathlib import Path

import pytest

from edge_es.pocket import PROBES_DIR, PROTECTED, TASKS_DIR, build_items, facts, grammar
from edge_es.pocket.abilities import ABILITIES, WEAK, draw, part_of

PROBES = sorted(PROBES_DIR.glob("*.jsonl"))
TASKS = sorted(TASKS_DIR.glob("*.jsonl"))


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prompts(paths: list[Path]) -> set[str]:
    return {r["prompt"] for p in paths for r in rows(p)}


def test_every_ability_has_a_probe_of_400_items() -> None:
    assert {p.stem for p in PROBES} == {a.name for a in ABILITIES} | {"sentences_choice"}
    assert len(ABILITIES) >= 8
    for path in PROBES:
        seen = [r["prompt"] for r in rows(path)]
        assert len(seen) >= 400
        assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("path", [*PROBES, *TASKS, PROTECTED], ids=lambda p: p.stem)
def test_rows_have_one_of_the_known_shapes(path: Path) -> None:
    shapes = set()
    for row in rows(path):
        assert isinstance(row["prompt"], str)
        assert row["prompt"]
        shapes.add(frozenset(row))
        if "choices" in row:
            assert len(set(row["choices"])) == len(row["choices"]) >= 2
            assert 0 <= row["label"] < len(row["choices"])
        elif "answer" in row:
            assert isinstance(row["answer"], str)
            assert row["answer"]
        if "grader" in row:
            assert row["grader"]["type"] in ("regex", "string_check")
    assert len(shapes) == 1
    assert shapes <= {
        frozenset({"prompt", "answer"}),
        frozenset({"prompt", "grader"}),
        frozenset({"prompt", "answer", "grader"}),
        frozenset({"prompt", "choices", "label"}),
    }


def test_probes_tasks_and_protected_inputs_are_disjoint() -> None:
    probes, protected = prompts(PROBES), prompts([PROTECTED])
    train = [p for p in TASKS if p.stem.endswith("-train")]
    test = [p for p in TASKS if p.stem.endswith("-test")]
    assert len(train) == len(test) == 3
    groups = [probes, protected, prompts(train), prompts(test)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert len(protected) >= 512


@pytest.mark.parametrize("ability", [*ABILITIES, *WEAK], ids=lambda a: a.name)
def test_training_never_draws_a_held_out_item(ability) -> None:
    rng = random.Random(1)
    drawn = [draw(ability, "train", rng) for _ in range(2000)]
    assert {i.prompt for i in drawn}.isdisjoint(prompts([*PROBES, *(p for p in TASKS if p.stem.endswith("-test"))]))
    if ability.probe_share:
        assert {part_of(i.key, ability.probe_share) for i in drawn} == {"train"}
        held = [draw(ability, "probe", rng) for _ in range(200)]
        assert {i.key for i in held}.isdisjoint(i.key for i in drawn)


def test_facts_are_held_out_by_phrasing() -> None:
    assert len(facts.FACTS) >= 60
    assert set(facts.TRAINED).isdisjoint(facts.HELD_OUT)
    held = {facts.ask(k, s, p) for k, s, _ in facts.FACTS for p in facts.HELD_OUT}
    trained = {facts.ask(k, s, p) for k, s, _ in facts.FACTS for p in facts.TRAINED}
    assert held.isdisjoint(trained)
    assert prompts([PROBES_DIR / "facts.jsonl"]) == held
    for part in (0, 1):  # each wrapper and each core is known to training, only their pairing is new
        assert {p[part] for p in facts.TRAINED} == set(range(4))


def test_the_committed_files_are_what_the_script_writes(tmp_path: Path) -> None:
    build_items.build(tmp_path)
    for path in [*PROBES, *TASKS]:
        assert (tmp_path / path.parent.name / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / PROTECTED.name).read_bytes() == PROTECTED.read_bytes()


def test_sentence_probes_agree_with_the_parser() -> None:
    for row in rows(PROBES_DIR / "sentences_choice.jsonl"):
        right, wrong = row["choices"][row["label"]], row["choices"][1 - row["label"]]
        topic = grammar.parse(right)
        assert topic is not None
        assert topic.phrase in row["prompt"]
        assert grammar.parse(wrong) is None
        assert sorted(right[:-1].split()) == sorted(wrong[:-1].split())
