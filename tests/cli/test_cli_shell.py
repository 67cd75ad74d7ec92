"""The command line as a shell sees it: start-up, help, exit status, errors on standard error."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.options import print_table

HEAVY = ("torch", "transformers", "httpx", "rich", "matplotlib", "numpy", "pydantic")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from service.cli.main import app; "
        "app(['--help'], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "service" in loaded
    assert loaded.isdisjoint(HEAVY)
    for command in ("serve", "status", "doctor", "token", "config", "feedback", "retention", "versions"):
        assert command in done.stdout
    for command in ("diff", "rollback", "verify", "probe", "bench", "demo"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["rollback"],
        ["rollback", "not-a-number"],
        ["rollback", "-1"],
        ["serve", "--port", "70000"],
        ["serve", "--device", "tpu"],
        ["config", "check", "/nowhere/edge-es.toml"],
        ["status", "--colour"],
        ["bench", "--population", "3"],
        ["bench", "--items", "0"],
        ["bench", "--quantization", "fp4"],
        ["bench", "--without", "plain"],
    ],
)
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


def test_failures_end_with_1_and_one_line(tmp_path: Path) -> None:
    done = run("status", "--state-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_without_a_daemon() -> None:
    done = run("status", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    assert "edge-es serve" in done.stderr


def test_an_address_that_is_none() -> None:
    done = run("status", "--url", "localhost 8420")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "http://127.0.0.1:8420" in done.stderr


def test_version() -> None:
    from edge_es import __version__

    assert run("--version").stdout == f"edge-es {__version__}\n"


def test_a_table_into_a_pipe_is_cut_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["suite", ">score"], [["learned-" + "x" * 200, 0.5]])
    assert "learned-" + "x" * 200 + "  0.500" in capsys.readouterr().out.replace("   ", "  ")
