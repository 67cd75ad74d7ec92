"""Style is part of the tests: one command says if a change is fit to land."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["mypy"]], ids=lambda command: command[0])
def test_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_no_file_outgrows_a_reader() -> None:
    sources = [path for folder in ("edge_es", "service") for path in (ROOT / folder).rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := p.read_text().count("\n")) > 420}
    assert not long


def test_the_library_does_not_know_the_service() -> None:
    for path in (ROOT / "edge_es").rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert not [x for x in lines if x.startswith(("from service", "import service"))], path
