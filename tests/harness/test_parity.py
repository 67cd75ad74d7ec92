"""The same decisions on HellaSwag by lm-evaluation-harness's model, by edge-es as its model, and by edge-es's scorer.

A hundred items by default; all of them, which takes some minutes:
`EDGE_ES_HELLASWAG=1000 python -m pytest tests/harness/test_parity.py -s`
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness.conftest import SHARED

ITEMS = int(os.environ.get("EDGE_ES_HELLASWAG", "100"))
TIE = 1e-5  # nats, and nats a character
MODEL, DATA = SHARED / "stories260K-hf", SHARED / "hellaswag_1k.jsonl"

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs ../shared")


def rows() -> list[dict[str, Any]]:
    with DATA.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][:ITEMS]


def by_harness(model: Any, folder: Path) -> list[list[float]]:
    """Log-likelihoods of every item's choices, nats."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=model, tasks=["swag"], task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    samples = sorted(found["samples"]["swag"], key=lambda one: one["doc_id"])
    return [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]


def margin(values: np.ndarray) -> float:
    best, second = np.sort(values)[::-1][:2]
    return float(best - second)


@pytest.mark.timeout(3600 if ITEMS > 100 else 300)
def test_the_same_decisions_thrice(make_task: Any) -> None:
    from lm_eval.models.huggingface import HFLM

    from edge_es.config import ModelSection
    from edge_es.harness.model import EdgeLM
    from edge_es.harness.tasks import items, load_task
    from edge_es.model import load_base
    from edge_es.probes.scoring import encode, score_suite
    from edge_es.probes.suites import load_suite
    from edge_es.slices import run
    from edge_es.spaces.delta import Delta

    wanted = rows()
    folder = make_task("swag", wanted)
    theirs = by_harness(HFLM(pretrained=str(MODEL), device="cpu", dtype="float32", batch_size=16), folder)
    base = load_base(ModelSection(ref=str(MODEL), quantization="none", device="cpu"))
    ours = by_harness(EdgeLM(base), folder)
    lines = items(load_task("swag", folder), "swag", limit=None)
    assert len(lines) == len(wanted)
    file = folder / "swag.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    suite = load_suite(file)
    scores = run(score_suite(base, Delta(), encode(base, suite)))

    ties = different = 0
    for i, row in enumerate(wanted):
        lengths = np.array([float(len(ending)) for ending in row["endings"]])
        a, b = np.array(theirs[i]), np.array(ours[i])
        for key, first, second in (("acc_norm", a / lengths, b / lengths), ("acc", a, b)):
            right = [float(values.argmax() == row["label"]) for values in (first, second)]
            own = scores.primary[i] if key == "acc_norm" else scores.beside["acc"][i]
            if min(margin(first), margin(second)) < TIE:
                ties += 1
            elif first.argmax() != second.argmax() or right[0] != right[1] or own != right[0]:
                different += 1
    apart = max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in zip(theirs, ours, strict=True))
    acc = float(np.mean(scores.primary))
    print(f"{len(wanted)} items, {different} different, {ties} ties; furthest {apart:.2e} nats; acc_norm {acc:.3f}")
    assert different == 0
    assert ties <= len(wanted) // 50
