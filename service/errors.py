"""Every refusal in the OpenAI shape: {"error": {"message", "type", "param", "code"}}."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from edge_es.errors import EdgeError, InputError
from service.generation import Busy
from service.review_table import NoSuchEvent, NotInReview
from service.store import Conflict, DiskFull

log = logging.getLogger(__name__)

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A refusal with its HTTP status. `param` names the field, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.as_json(), self.status, self.headers)


class Unknown(InputError):
    """An id, a version or a model that does not exist."""


class UnknownField(InputError):
    """A field that nobody asked for."""


def field_name(path: tuple[int | str, ...]) -> str:
    """('messages', 0, 'content') as 'messages[0].content'."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def refusal(error: Exception) -> ApiError | None:
    """How an error is answered; None where it is a bug of the daemon."""
    match error:
        case ApiError():
            return error
        case ValidationError() | RequestValidationError():
            first = error.errors()[0]
            path = tuple(first["loc"])
            # FastAPI puts the place before the name.
            param = field_name(path[1:] if isinstance(error, RequestValidationError) else path)
            if first["type"] == "extra_forbidden":
                return ApiError(422, f"unknown or unsupported field '{param}'", param, "unknown_field")
            if first["type"] == "missing":
                return ApiError(422, f"field '{param}' is missing", param, "missing_field")
            return ApiError(
                422, f"{param}: {first['msg']}" if param else str(first["msg"]), param or None, "invalid_value"
            )
        case Conflict():
            return ApiError(409, str(error), error.param, "id_conflict")
        case NotInReview():
            return ApiError(409, str(error), error.param, "not_in_review")
        case Unknown() | NoSuchEvent():
            return ApiError(404, str(error), error.param, "not_found")
        case UnknownField():
            return ApiError(422, str(error), error.param, "unknown_field")
        case InputError():
            return ApiError(400, str(error), error.param, "invalid_value")
        case DiskFull():
            return ApiError(507, str(error), code="disk_full")
        case Busy():
            return ApiError(429, str(error), code="busy", headers={"Retry-After": "1"})
        case ClientDisconnect():
            return ApiError(499, "the client went away")  # nobody reads it
        case HTTPException(status_code=404):
            return ApiError(404, "there is no such address; see the README for the API", code="not_found")
        case HTTPException():
            return ApiError(error.status_code, error.detail, headers=error.headers)
        case EdgeError():
            return ApiError(500, str(error), code="internal_error")
    return None


def _methods(request: Request) -> set[str]:
    """Those of the address, whichever route they belong to."""
    routes: Sequence[Route] = request.app.state.routes
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in fitting for method in route.methods or ()}


async def answer(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of the application."""
    known = refusal(error)
    if known is not None and known.status == 405:
        allowed = sorted(_methods(request))
        message = f"{request.method} is not for this address; it takes {' and '.join(allowed)}"
        known = ApiError(405, message, code="method_not_allowed", headers={"Allow": ", ".join(allowed)})
    if known is None:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        known = ApiError(500, "the daemon failed on this request; its log says why", code="internal_error")
    return known.response()


def install(app: FastAPI, routes: Sequence[Route]) -> None:
    """Makes every refusal of `app`, whose routes these are, take the one shape."""
    app.state.routes = routes
    kinds = (ApiError, EdgeError, ValidationError, RequestValidationError, HTTPException, ClientDisconnect, Exception)
    for kind in kinds:  # what only Exception takes is raised again, for the server's log
        app.add_exception_handler(kind, answer)
