"""The examples, run as they are, each a process of its own against a served application."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from echo_daemon import Daemon

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"tensorzero_client": "tensorzero"}  # what tests elsewhere need is there


def run(daemon: Daemon, name: str) -> str:
    environment = {**os.environ, "EDGE_ES_URL": daemon.url, "EDGE_ES_TOKEN": daemon.context.tokens.admin}
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        environment.pop(proxy, None)
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kinds(daemon: Daemon) -> list[str]:
    events = [*(event for event, _ in daemon.store.pending(100, 100)), *daemon.store.held_out()]
    return sorted(event.kind for event in events)


@pytest.mark.parametrize(
    ("name", "said", "sent"),
    [
        ("openai_client", "What is 17+25? edge-es-v0", ["rating"]),
        ("edge_client", "by version 0", ["demonstration", "rating"]),
        ("async_client", "What is 3+4?", []),
        ("tensorzero_client", "What is 17+25?", ["demonstration", "rating"]),
    ],
)
def test_an_example_does_what_it_says(daemon: Daemon, name: str, said: str, sent: list[str]) -> None:
    needed = NEEDS.get(name)
    if needed and find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    assert said in run(daemon, name)
    assert kinds(daemon) == sent


def test_the_lessons_are_taken(daemon: Daemon) -> None:
    content = (EXAMPLES / "lessons.jsonl").read_bytes()
    headers = {"Content-Type": "application/x-ndjson"}
    found = daemon.client.post("/v1/feedback/batch", content=content, headers=headers).json()["results"]
    assert len(found) == 64 and not [one for one in found if one.get("error")]
    assert kinds(daemon) == ["demonstration"] * 64


def test_the_first_one_has_about_ten_lines() -> None:
    lines = (EXAMPLES / "openai_client.py").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith(("import", '"""'))]) <= 10
