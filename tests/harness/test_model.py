"""edge-es as a model of the harness beside the harness's own, in process and over the API."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.live import inside

TEXTS = ["Once upon a time there was a bird.", "The cat sat on the mat. " * 20]
ASKED = [("Once upon a time", " there was a bird."), ("The cat", " sat."), ("", "Hello there"), ("A dog ", "ran")]


def requests(kind: str, arguments: list[Any]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


@pytest.fixture
def ours(tiny_folder: Path) -> Any:
    from edge_es.config import ModelSection
    from edge_es.harness.model import EdgeLM
    from edge_es.model import load_base

    return EdgeLM(load_base(ModelSection(ref=str(tiny_folder), quantization="none", device="cpu")))


@pytest.fixture
def theirs(tiny_folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(tiny_folder), device="cpu", dtype="float32", batch_size=4)


def test_the_same_numbers_as_the_harness_s_own_model(ours: Any, theirs: Any) -> None:
    scored = requests("loglikelihood", ASKED)
    for a, b in zip(ours.loglikelihood(scored), theirs.loglikelihood(scored), strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-3) and a[1] == b[1]
    options = {"until": ["zz"], "max_gen_toks": 12, "do_sample": False}
    asked = requests("generate_until", [("Once upon a time", options), ("Hi", options)])
    assert ours.generate_until(asked) == theirs.generate_until(asked)
    whole = requests("loglikelihood_rolling", [(text,) for text in TEXTS])
    first, second = ours.loglikelihood_rolling(whole), theirs.loglikelihood_rolling(whole)
    assert first[0] == pytest.approx(second[0], abs=1e-3)
    assert first[1] == pytest.approx(second[1], rel=0.02)  # windows are a token shorter, so their edges lie elsewhere


def test_the_harness_makes_one_by_its_name(ours: Any, tiny_folder: Path) -> None:
    from lm_eval.api.registry import get_model

    kind, wanted = get_model("edge-es"), {"ref": str(tiny_folder), "quantization": "none", "device": "cpu"}
    by_text = kind.create_from_arg_string(",".join(f"{key}={value}" for key, value in wanted.items()))
    more = {"batch_size": 1, "max_batch_size": None, "device": None}  # what simple_evaluate adds
    for made in (by_text, kind.create_from_arg_obj(wanted, more)):
        assert made.base.sha256 == ours.base.sha256


def test_a_version_scores_otherwise_than_the_anchor(ours: Any) -> None:
    from edge_es.harness.model import EdgeLM
    from tests.contract.conftest import random_delta

    changed = EdgeLM(ours.base, random_delta(ours.base, size=0.3))
    scored = requests("loglikelihood", ASKED)
    assert ours.loglikelihood(scored) != changed.loglikelihood(scored)


def test_what_it_cannot_do_is_named(ours: Any) -> None:
    from edge_es.errors import InputError

    with pytest.raises(InputError, match="num_beams"):
        ours.generate_until(requests("generate_until", [("Hi", {"until": [], "num_beams": 4, "max_gen_toks": 4})]))
    with pytest.raises(InputError, match="leave no room"):
        ours.generate_until(requests("generate_until", [("Hi", {"until": [], "max_gen_toks": 1000})]))


def test_the_harness_s_client_over_the_api_says_the_same(
    ours: Any, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tenacity")
    pytest.importorskip("aiohttp")
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    tree = {
        "model": {"ref": str(tiny_folder), "device": "cpu", "quantization": "none"},
        "learn": {"enabled": False},
        "probes": {"suites": []},
    }
    asked = [one for one in ASKED if one[0]]
    with inside(tmp_path / "state", tree) as daemon:
        client = LocalCompletionsAPI(
            base_url=f"{daemon.url}/v1/completions",
            model=tiny_folder.name,
            tokenizer=str(tiny_folder),
            max_length=128,
            batch_size=2,
            num_concurrent=1,
            max_retries=1,
        )
        found = client.loglikelihood(requests("loglikelihood", asked), disable_tqdm=True)
        options = {"until": ["zz"], "max_gen_toks": 6}
        said = client.generate_until(requests("generate_until", [("Once upon a time", options)]), disable_tqdm=True)
    for a, b in zip(found, ours.loglikelihood(requests("loglikelihood", asked)), strict=True):
        assert a[0] == pytest.approx(b[0], abs=1e-3) and a[1] == b[1]
    assert said == ours.generate_until(requests("generate_until", [("Once upon a time", options)]))
    assert "OPENAI_API_KEY" not in os.environ
