"""Whether what workers need is installed. Imports neither Ray nor torch."""

from importlib.util import find_spec

from edge_es.errors import ConfigError

INSTALL = "workers elsewhere need Ray, which is not installed: pip install 'edge-es[ray]'"


def require() -> None:
    """Raises ConfigError with the command that installs it."""
    if find_spec("ray") is None:
        raise ConfigError(f"workers.evaluator is 'ray'; {INSTALL}")
