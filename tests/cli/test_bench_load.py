"""The load benchmarks on daemons of their own, as short as they can be."""

import json
from pathlib import Path

from typer.testing import CliRunner

from service.cli.main import app
from service.load.soak import soak


def test_phases_take_turns_and_are_compared() -> None:
    arguments = ["bench-serve", "--seconds", "2", "--rounds", "1", "--rate", "5", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(one["load"], one["learning"]) for one in found["phases"]] == [
        ("5 requests/s", False),
        ("5 requests/s", True),
        ("idle", True),
    ]
    assert found["errors"] == {} and found["phases"][0]["versions"] == 0
    learned = [phase["used"]["learning"] for phase in found["phases"]]
    assert learned[0] < 0.01, "looking for work, and finding that it is paused"
    assert learned[2] > 0.5


def test_a_soak_of_two_rounds(tmp_path: Path) -> None:
    said: list[str] = []
    samples = soak(tmp_path, requests=8, events=80, versions=2, seed=0, say=said.append)
    assert len(samples) == len(said) == 2
    assert 1 <= samples[0].version < samples[1].version
    assert all(one.resident > 2**20 and one.files > 3 and 0 < one.first <= one.whole for one in samples)
