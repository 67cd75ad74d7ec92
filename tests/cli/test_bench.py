"""`edge-es bench` as a shell sees it."""

import json

import pytest
from typer.testing import CliRunner

from service.cli.main import app

runner = CliRunner()
SMALL = ["bench", "--population", "2", "--items", "1", "--repeats", "1", "--seconds", "0", "--device", "cpu"]
FEW = [*SMALL, "--without", "in_place", "--without", "backprop", "--without", "decode"]


def test_json_and_table() -> None:
    done = runner.invoke(app, [*FEW, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["model"] == "pocket" and found["plain"]["seconds"] > 0
    done = runner.invoke(app, [*FEW, "--model", "shape:tiny", "--quantization", "int8", "--tokens", "16"])
    assert done.exit_code == 0, done.output
    for word in ("shape:tiny (int8", "es_step", "time_over_plain", "not run: left out by --without"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "shape:huge"], "shape:llama-1b"),
        (["--model", "/nowhere"], "/nowhere"),
        (["--items", "1000"], "--items 1000"),
        (["--tokens", "100000"], "--tokens 100000"),
    ],
)
def test_failures_are_one_line(arguments: list[str], named: str) -> None:
    done = runner.invoke(app, [*SMALL, *arguments])
    assert done.exit_code == 1
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert named in done.stderr and "Traceback" not in done.stderr
