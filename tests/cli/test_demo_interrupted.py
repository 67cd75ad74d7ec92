"""An interrupted demo leaves no daemon and no folder behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_daemon_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "service.cli.main", "demo", "--json", "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    # A suite that a shell started in the background ignores SIGINT, and so would what it starts.
    before = signal.signal(number, signal.default_int_handler)
    try:
        demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    finally:
        signal.signal(number, before)
    notes: list[Path] = []
    try:
        while not notes:
            assert demo.poll() is None
            notes = list(temporary.glob("edge-es-demo-*/state/daemon.json"))
            time.sleep(0.1)
        pid = json.loads(notes[0].read_text())["pid"]
        assert alive(pid)
        demo.send_signal(number)
        out, err = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:  # not stopped: its daemon would learn on beside all later tests
            demo.kill()
            if notes and alive(pid := json.loads(notes[0].read_text())["pid"]):
                os.kill(pid, signal.SIGKILL)
    assert demo.returncode == 1
    assert out == b""
    assert b"the daemon was stopped" in err
    assert b"Traceback" not in err
    assert not alive(pid)
    # torch keeps a cache of its own there, once it has run a model.
    assert [path for path in temporary.iterdir() if not path.name.startswith("torchinductor")] == []
