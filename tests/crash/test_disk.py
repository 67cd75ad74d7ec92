"""A disk that fails, and one that loses power: the state is the one before or the one after, and what was acknowledged
is there.

    DISK=all python -m pytest -s tests/crash/test_disk.py

lets every call fail in every way, and leaves eight different parts of what was not synced at every moment.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("disk.c")
ALL = os.environ.get("DISK") == "all"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk, compiled: what SQLite writes passes no other door that a test could stand at."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler on this machine, or no Linux")
    made = tmp_path_factory.mktemp("disk") / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"], check=True)
    return made


def run(library: Path, *arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.crash.faults", str(library), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(arguments, found)
    return found


@pytest.mark.timeout(1800)
def test_every_call_that_changes_the_disk_may_fail_once(library: Path) -> None:
    found = run(library, "fail", "ALL" if ALL else "ONE")
    assert found["wrong"] == []
    assert found["runs"] >= found["calls"] > 200 and found["refusals"] > found["runs"] / 2, "the faults were felt"


@pytest.mark.timeout(1800)
def test_power_may_be_lost_at_any_moment(library: Path) -> None:
    found = run(library, "cut", "8" if ALL else "1")
    assert found["wrong"] == []
    assert found["moments"] > 200
