"""The daemon as a child process: started as a user would, found by its daemon.json, stopped by its id."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_es.errors import EdgeError
from service.cli.address import Daemon

START_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Child:
    """A running daemon. `daemon` is how to speak to it."""

    process: subprocess.Popen[bytes]
    daemon: Daemon
    log: Path


def _complain(log: Path, what: str) -> EdgeError:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return EdgeError(f"the daemon {what}: {lines[-1] if lines else 'it said nothing'} (log: {log})")


def _ready(state_dir: Path, pid: int) -> Daemon | None:
    """The daemon once its model is loaded, None before."""
    import httpx

    try:
        note = json.loads((state_dir / "daemon.json").read_text(encoding="utf-8"))
        tokens = json.loads((state_dir / "tokens.json").read_text(encoding="utf-8"))
        if note["pid"] == pid and httpx.get(note["url"] + "/readyz", timeout=5, trust_env=False).is_success:
            return Daemon(note["url"], tokens["admin"])
    except (FileNotFoundError, json.JSONDecodeError, httpx.HTTPError):
        pass
    return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to this one process where that is not enough."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(state_dir: Path, log: Path, arguments: Sequence[str]) -> Iterator[Child]:
    """`edge-es serve` on `state_dir` and a free loopback port, until the block ends, however it ends.

    Raises EdgeError with the daemon's last words where it does not come up.
    """
    command = [sys.executable, "-m", "service.cli.main", "serve", "--host", "127.0.0.1", "--port", "0"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--state-dir", str(state_dir), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the child in order
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        daemon = None
        while daemon is None:
            if process.poll() is not None:
                raise _complain(log, f"ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise _complain(log, f"was not ready after {START_SECONDS:.0f} s")
            time.sleep(0.2)
            daemon = _ready(state_dir, process.pid)
        yield Child(process, daemon, log)
    finally:
        stop(process)
