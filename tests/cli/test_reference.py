"""docs/reference/ says what the code does; the documents' commands and links exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"])


@pytest.mark.parametrize("name", ["cli", "api"])
def test_the_reference_is_current(name: str) -> None:
    made = getattr(reference, name)()
    assert (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8") == made, (
        "`python -m service.reference` writes it anew"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands() -> set[str]:
    return {
        re.sub(r" [A-Z\[<].*", "", line.removeprefix("## `").rstrip("`"))
        for line in reference.cli().splitlines()
        if line.startswith("## `")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    known = commands()
    words = {word for command in known for word in (command, command.rsplit(" ", 1)[0])} | {"edge-es"}
    for command in re.findall(
        r"(?:^|`|\$ ?|\()edge-es((?: [a-z][a-z-]*){1,2})", page.read_text(encoding="utf-8"), re.M
    ):
        parts = command.split()
        shorter = [f"edge-es {' '.join(parts[:n])}" for n in (2, 1) if n <= len(parts)]
        assert any(one in words for one in shorter), f"{page.name}: edge-es{command}"


def test_the_recipe_for_arithmetic_makes_a_suite(tmp_path: Path) -> None:
    from edge_es.probes.suites import load_suite

    text = (ROOT / "docs" / "probes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'`python -c "(.*)" > sums.jsonl`', text)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (tmp_path / "sums.jsonl").write_text(done.stdout)
    suite = load_suite(tmp_path / "sums.jsonl")
    assert (suite.kind, len(suite.items)) == ("generation", 400)
