"""`GET /`: the dashboard, a page that holds nothing of the daemon's; what it shows it asks the API for."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.openapi import documented

router = APIRouter()
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
Asset = Literal[
    "api.js",
    "chart.js",
    "charts.js",
    "chat.js",
    "controls.js",
    "dom.js",
    "icon.svg",
    "live.js",
    "main.js",
    "overview.js",
    "queue.js",
    "story.js",
    "style.css",
    "uplot.css",
    "uplot.js",
]
# No script but those beside the page, nothing from elsewhere, in no frame; a page that is left says not from where.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TEXT = {"schema": {"type": "string"}}


@cache
def _read(name: str) -> tuple[bytes, str]:
    data = (files("service") / "dashboard" / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _served(request: Request, name: str) -> Response:
    data, tag = _read(name)
    headers = {**HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=TYPES[name.rpartition(".")[2]], headers=headers)


@router.get("/", response_class=Response, **documented(content={"text/html": _TEXT}))
def page(request: Request) -> Response:
    """The dashboard, for a browser."""
    return _served(request, "index.html")


@router.get(
    "/dashboard/{asset}",
    response_class=Response,
    **documented(None, 404, 422, content={TYPES[kind]: _TEXT for kind in ("css", "js", "svg")}),
)
def part(request: Request, asset: Asset) -> Response:
    """What the page is made of."""
    return _served(request, asset)


ASSETS: tuple[str, ...] = ("index.html", *get_args(Asset))
