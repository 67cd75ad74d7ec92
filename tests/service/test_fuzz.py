"""schemathesis over the whole OpenAPI document, all checks, stateful too.

A few hundred cases by default. The long run, which takes the better part of ten minutes:
`FUZZ_CASES=20000 python -m pytest tests/service/test_fuzz.py -s`
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from echo_daemon import served, use

HERE = Path(__file__).parent
CASES = int(os.environ.get("FUZZ_CASES", "0"))
SEED = 5


@pytest.mark.timeout(3600 if CASES else 120)
def test_the_api_does_what_its_document_says(tmp_path: Path) -> None:
    with served(tmp_path / "state") as daemon:
        daemon.engine.base.context = 2**20  # no schema says how many tokens a text has
        daemon.context.stopping.set()  # endless streams end at once
        for metric in ("demonstration", "comment"):  # something to list, to try again and to go back to
            body = {"input": {"prompt": "a"}, "metric_name": metric, "value": "b"}
            event = daemon.client.post("/v1/feedback", json=body).json()["feedback_id"]
            daemon.client.post("/v1/probes/run")
            use(daemon.store, [event] if metric == "demonstration" else [])
            daemon.store.set_aside([event], "capitals dropped")
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")]
        command += ["run", f"{daemon.url}/openapi.json", "--checks", "all", "--seed", str(SEED)]
        command += ["--phases", "examples,coverage,fuzzing,stateful" if CASES else "examples,fuzzing,stateful"]
        command += ["--max-examples", str(max(12, CASES // 20)), "--generation-deterministic", "--continue-on-failure"]
        command += ["--header", f"Authorization: Bearer {daemon.context.tokens.admin}", "--request-timeout", "30"]
        command += ["--no-color", "--output-sanitize", "false"]
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "SCHEMATHESIS_HOOKS": "fuzz_hooks"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        print(done.stdout[-6000:])
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        summary = re.search(r"Test cases:\s+(\d+) generated, (\d+) passed", done.stdout)
        assert summary is not None, done.stdout[-2000:]
        assert int(summary[1]) >= (CASES or 200)
        answers = daemon.stranger.get("/metrics").text
        assert not re.search(r'status="5\d\d"', answers)
