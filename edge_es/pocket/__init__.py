"""The embedded default model `pocket`: its weights, its probes, the tasks to teach it. Imports no torch."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
MODEL_DIR = _HERE / "model"
PROBES_DIR = _HERE / "probes"
TASKS_DIR = _HERE / "tasks"
PROTECTED = _HERE / "protected.jsonl"

__all__ = ["MODEL_DIR", "PROBES_DIR", "PROTECTED", "TASKS_DIR"]
