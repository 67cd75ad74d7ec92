"""edge-es: a quantized language model that serves, learns from feedback by evolution strategies, and does not forget."""

__version__ = "0.1.0"
