"""Tasks of lm-evaluation-harness over local files, so that nothing is downloaded."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{validation: {data}}}
output_type: {output}
validation_split: validation
doc_to_text: "{text}"
doc_to_target: "{target}"
{more}
metric_list:
{metrics}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    pytest.importorskip("datasets")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def make_task(tmp_path: Path) -> Any:
    """Writes a task over these rows; returns the folder to look for it in."""

    def write(
        name: str,
        rows: list[dict[str, Any]],
        output: str = "multiple_choice",
        text: str = "{{ctx}}",
        target: str = "{{label}}",
        more: str = "doc_to_choice: endings",
        metrics: tuple[str, ...] = ("acc", "acc_norm"),
    ) -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        data = folder / f"{name}.json"
        data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        told = "\n".join(f"  - metric: {metric}\n    aggregation: mean" for metric in metrics)
        filled = TASK.format(name=name, data=data, output=output, text=text, target=target, more=more, metrics=told)
        (folder / f"{name}.yaml").write_text(filled, encoding="utf-8")
        return folder

    return write
