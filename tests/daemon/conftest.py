"""Fixtures: a model that answers at length, suites and protected inputs of its own, and the smallest configuration."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.live import small


@pytest.fixture(scope="session")
def roomy_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a longer context: rotary positions need no weights."""
    folder = tmp_path_factory.mktemp("roomy") / "tiny"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    return folder


def lines(path: Path, items: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture(scope="session")
def tree(roomy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The configuration to start from: one suite of each kind that a random model can have."""
    place = tmp_path_factory.mktemp("suites")
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    suites = [
        lines(place / "texts.jsonl", [{"text": f"{word} and {word} again"} for word in words]),
        lines(place / "pairs.jsonl", [{"prompt": w, "choices": [w, "none"], "label": 0} for w in words]),
        lines(place / "echoes.jsonl", [{"prompt": word, "answer": word} for word in words]),
        lines(place / "drift.jsonl", [{"kind": "kl", "prompt": word} for word in words]),
    ]
    protected = lines(place / "protected.jsonl", [{"prompt": word, "answer": word} for word in words])
    return small(roomy_folder, suites, protected)
