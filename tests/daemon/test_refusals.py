"""What cannot be served is said in one line that names it, with exit status 1: `edge-es serve` with the real engine."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.daemon.live import cli, inside, merged, one_line, toml

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, tree: dict[str, Any]) -> Iterator[Refused]:
    """`edge-es serve` in this process with these options and settings; why it ended."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = os.umask(0o022)

    def run(*options: str, **sections: Any) -> str:
        config = tmp_path / "config.toml"
        config.write_text(toml(merged(tree, sections)))
        place = () if "--state-dir" in options else ("--state-dir", str(tmp_path / "state"))
        return one_line(cli("serve", "--config", str(config), *place, *options, status=1))

    yield run
    os.umask(mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_where_there_is_none(refused: Refused) -> None:
    said = refused("--device", "cuda")
    assert "cuda" in said and "'cpu' or 'auto'" in said


def test_a_model_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    said = refused("--model", str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in said


def test_the_folder_of_another_model(refused: Refused, tree: dict[str, Any], tmp_path: Path) -> None:
    with inside(tmp_path / "own", tree):
        pass
    said = refused("--state-dir", str(tmp_path / "own"), "--model", "pocket")
    assert "pocket (nf4)" in said and f"{tree['model']['ref']} (nf4)" in said
    said = refused("--state-dir", str(tmp_path / "own"), model={"quantization": "int8"})
    assert "(int8)" in said and "(nf4)" in said


@pytest.mark.parametrize("line", ['{"prompt": "a"', '{"prompt": "a", "answer": 3}', '{"prompt": "a", "colour": "red"}'])
def test_a_broken_line_of_a_suite(refused: Refused, tmp_path: Path, line: str) -> None:
    suite = tmp_path / "mine.jsonl"
    suite.write_text('{"prompt": "a", "answer": "b"}\n\n' + line + "\n")
    said = refused(probes={"suites": [str(suite)]})
    assert str(suite) in said and "line 3" in said


def test_a_suite_that_is_missing(refused: Refused, tmp_path: Path) -> None:
    assert str(tmp_path / "gone.jsonl") in refused(probes={"suites": [str(tmp_path / "gone.jsonl")]})
