"""What a client raises. Each carries one line, the daemon's own where it said one."""

from edge_es.errors import EdgeError


class ApiError(EdgeError):
    """The daemon did not do what was asked."""


class Unreachable(ApiError):
    """No daemon answers at this address, or it broke off."""


class Refused(ApiError):
    """The daemon refused. status: of HTTP. param: the field that is wrong. code: for programs, such as
    "model_loading"."""

    def __init__(self, message: str, status: int, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class TooBusy(Refused):
    """The daemon has too many requests, or is still loading, and was so at every try."""
