"""edge-es: one quantized language model that serves, learns by evolution strategies, and does not forget."""

__version__ = "0.1.0"
