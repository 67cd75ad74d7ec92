"""kill -9 in the middle of anything: nothing that was acknowledged is lost, nothing counts twice, all is rebuilt.

    KILLS=300 KILLS_SEED=20261125 python -m pytest -s tests/crash/test_kill.py

is the long run, which prints what it found; folders are begun anew after every KILLS_A_FOLDER kills.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.crash.kills import run
from tests.crash.nursery import nursery

KILLS = int(os.environ.get("KILLS", "6"))
SEED = int(os.environ.get("KILLS_SEED", "20261125"))
KILLS_A_FOLDER = 30


@pytest.mark.timeout(300 + 20 * KILLS)
def test_kill_at_any_moment_forgets_nothing(tmp_path: Path, tree: dict[str, Any]) -> None:
    done = 0
    with nursery() as forks:
        while done < KILLS:
            some = min(KILLS_A_FOLDER, KILLS - done)
            report = run(forks, tmp_path / str(done), tree, some, SEED + done)
            print(f"seed {SEED + done}: {report}", flush=True)
            assert report.failures() == {}, report
            assert report.acknowledged and report.versions, report
            done += some
