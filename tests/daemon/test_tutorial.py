"""docs/tutorial.md, run as it stands: every block in one shell, but on a free port and with less learning."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESS = {  # one step or two, and no suites but the tutorial's own
    "EDGE_ES_LEARN__MAX_USES": "1",
    "EDGE_ES_LEARN__BATCH": "64",
    "EDGE_ES_LEARN__GROUPS": "1",
    "EDGE_ES_SEARCH__POPULATION": "4",
    "EDGE_ES_SEARCH__FOCUS": "false",
    "EDGE_ES_SEARCH__RENEW": "0",
    "EDGE_ES_GATES__MIN_RELIABILITY": "-1",
    "EDGE_ES_GATES__MAX_TIE_RATE": "1",
    "EDGE_ES_PROBES__SUITES": "[]",
}


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.timeout(900)
def test_the_tutorial_runs(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, command in (("edge-es", "-m service.cli.main"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
        (tools / name).chmod(0o755)
    found = blocks()
    assert len(found) >= 6
    script = "set -e\ntrap 'kill %1 2>/dev/null || true' EXIT\n" + "".join(
        f"echo '## {number}'\n{block.replace('8420', str(port))}" for number, block in enumerate(found)
    )
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("EDGE_ES_")},
        **LESS,
        "EDGE_ES_SERVE__PORT": str(port),
        "EDGE_ES_URL": f"http://127.0.0.1:{port}",
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "no_proxy": "localhost,127.0.0.1",
    }
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-m", "-c", script], cwd=work, env=environment, capture_output=True, text=True, timeout=850
    )
    log = (work / "serve.log").read_text() if (work / "serve.log").exists() else ""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + log[-2000:]
    assert "Reverse planet. -> tenalp (version 0)" in done.stdout
    assert "64 accepted, 0 known already, 0 refused" in done.stdout
    assert "0 accepted, 64 known already, 0 refused" in done.stdout
    assert "months: 9 items" in done.stdout and "too few" in done.stdout
    assert "is the anchor again" in done.stdout
