"""A real third-party model by --model: stories260K answers, learns from demonstrations, and is probed on stories."""

import json
from pathlib import Path

import pytest

from tests.daemon.live import child, demonstration

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not (DATA / "stories260K-hf").is_dir(), reason="the model's folder is not here")


def test_stories_are_served_learned_and_probed(tmp_path: Path) -> None:
    stories = json.loads((DATA / "tinystories_1000.json").read_text())[:16]
    suite = tmp_path / "stories.jsonl"
    suite.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    settings = {
        "model": {"ref": str(DATA / "stories260K-hf"), "device": "cpu"},
        "search": {"population": 16, "rank": 2, "sigma": 0.05, "alpha": 0.05},
        "learn": {"min_events": 8, "batch": 8, "max_uses": 8, "holdout": 0.0, "kl_below": 0.0},
        "probes": {"every": 4, "suites": [str(suite)], "tolerance": 0.1},
        "serve": {"port": 0},
    }
    with child(tmp_path, settings) as live:
        live.rest()
        model = live.get("/v1/models")["data"][0]["id"]
        assert model == "stories260K-hf"
        body = {"model": model, "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}
        answer = live.post("/v1/completions", body)
        assert "there was a little" in answer["choices"][0]["text"]
        assert answer["usage"]["completion_tokens"] == 24

        names = ["Tim", "Anna", "Ben", "Lily", "Tom", "Mia", "Sam", "Sue"]
        for name in names:
            prompt = {"prompt": f"{name} saw a dog."}
            live.send(demonstration(0, input=prompt, value=" The dog said hello in French."))
        status = live.rest()
        assert status["reason"] is None
        steps = live.versions("step")
        assert [row["state"] for row in steps] == ["published"] * 8
        means = [row["fitness_mean"]["demonstration"] for row in steps]
        assert means[-1] > means[0] + 0.1, "nats a token of the shown answers"
        rows = [row for row in live.get("/v1/retention")["retention"] if row["suite"] == "stories"]
        assert [row["kind"] for row in rows] == ["perplexity"] * len(rows) and len(rows) >= 3
        assert 1.2 < rows[0]["score"] < 2.0, "published: 1.73 nats a token on the first 200, without quantization"
        assert rows[-1]["version"] == status["version"] and rows[-1]["retention"] > 0.9
        assert live.get("/v1/verify")["ok"]
        assert live.stop() == 0
