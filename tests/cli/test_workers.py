"""`edge-es workers`, and what is said where Ray is not installed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon.live import toml


def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\n\nsys.modules['ray'] = None\n")  # as if it were not there
    config = tmp_path / "config.toml"
    config.write_text(toml({"workers": {"evaluator": "ray"}, "serve": {"port": 0}}))
    paths = os.pathsep.join([str(hidden), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "service.cli.main",
            "serve",
            "--config",
            str(config),
            "--state-dir",
            str(tmp_path / "s"),
        ],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "pip install 'edge-es[ray]'" in done.stderr and "workers.evaluator" in done.stderr
