"""Daemons that start in a moment: one process imports what takes seconds, and every start is a fork of it.

Run as a module it is that process: for each line on its standard input, the path of a configuration and of a state
folder, it forks `edge-es serve` and prints the child's pid. What is killed is a daemon like any other.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_es.config import load


@dataclass(frozen=True)
class Nursery:
    """`start` forks a daemon whose output goes to `log`."""

    process: "subprocess.Popen[str]"

    def start(self, config: Path, folder: Path, log: Path) -> int:
        """The pid of a daemon that has just been forked."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(config), str(folder), str(log)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def alive(pid: int) -> bool:
    """Whether the process is there. One that has ended is not: its parent does not keep it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Ends with the block, and with it what it was asked to start is nobody's child any more: kill that first."""
    command = [sys.executable, "-m", "tests.crash.nursery"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve(config: Path, folder: Path, log: Path) -> int:
    """In the child."""
    from service.daemon import serve

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (0, 1, 2):
        os.dup2(out, stream)
    return serve(load(config, {"state": {"dir": str(folder)}}))


def main() -> None:
    """Reads from the pipe alone, so that a fork does not read what was meant for the next."""
    import bitsandbytes  # noqa: F401
    import transformers  # noqa: F401
    from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: F401

    import service.engine  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        config, folder, log = map(Path, json.loads(line))
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                status = _serve(config, folder, log)
            finally:
                os._exit(status)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
