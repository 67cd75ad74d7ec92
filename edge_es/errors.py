"""The one exception family of the library: each carries one clear line that names the input and the remedy."""


class EdgeError(Exception):
    """Something the user can mend. `str(error)` is one line that names the input and the remedy."""


class ConfigError(EdgeError):
    """A configuration key or value is wrong."""


class ModelError(EdgeError):
    """The model cannot be loaded, or does not fit the request."""


class InputError(EdgeError):
    """A request, an event or a probe item is wrong; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class StateError(EdgeError):
    """The state folder or the ledger cannot be used as asked."""


class TooLarge(StateError):
    """The memory budget does not hold the smallest batch of this."""
