"""edge-es: one quantized language model that serves, learns by evolution strategies, and does not forget.

As a library: `edge_es.tune(model, prompts=..., reward=...)`. The names below are imported when they are first used, so
that `import edge_es` costs nothing and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edge_es.config import Config
    from edge_es.export import export_delta, export_merged, export_peft, read_delta, read_peft
    from edge_es.model import Base, base_of, load_base
    from edge_es.tuning import Tuned, tune

__all__ = [
    "Base",
    "Config",
    "Tuned",
    "__version__",
    "base_of",
    "export_delta",
    "export_merged",
    "export_peft",
    "load_base",
    "read_delta",
    "read_peft",
    "tune",
]

_PLACES = {
    "Base": "model",
    "Config": "config",
    "Tuned": "tuning",
    "base_of": "model",
    "export_delta": "export",
    "export_merged": "export",
    "export_peft": "export",
    "load_base": "model",
    "read_delta": "export",
    "read_peft": "export",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'edge_es' has no attribute '{name}'")
    return getattr(import_module(f"edge_es.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
