"""What the routers work with: made once by `service.app.create_app`, never changed."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, Request

from edge_es.config import Config
from service.errors import ApiError
from service.exporting import ImportKind, Wanted
from service.generation import Generation, LiveStatus
from service.history import History
from service.metrics import Metrics
from service.news import News
from service.store import Store
from service.tokens import Keyring, Tokens

if TYPE_CHECKING:
    from edge_es.model import Base

Listener = Callable[[str, dict[str, Any]], None]


class Engine(Protocol):
    """What the API needs of service.engine.Engine."""

    ready: bool
    beat: float
    failure: str | None
    base: "Base"

    def submit(self, generation: Generation) -> None: ...
    def wake(self) -> None: ...
    def pause(self, reason: str) -> None: ...
    def resume(self) -> None: ...
    def rollback(self, version: int, reason: str) -> Future[int]: ...
    def probe(self) -> Future[None]: ...
    def verify(self) -> Future[dict[str, Any]]: ...
    def export(self, wanted: Wanted, name: str | None) -> Future[dict[str, Any]]: ...
    def adopt(self, kind: ImportKind, folder: Path, any_base: bool) -> Future[dict[str, Any]]: ...
    def live_status(self) -> LiveStatus: ...
    def subscribe(self, listener: Listener) -> Callable[[], None]: ...


@dataclass(frozen=True)
class Context:
    """stopping: set when the daemon is to end, so that endless streams end first."""

    config: Config
    store: Store
    engine: Engine
    keyring: Keyring
    metrics: Metrics
    news: News
    history: History
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> Tokens:
        """Those that are valid now."""
        return self.keyring.tokens()

    def fed(self) -> None:
        """Feedback was stored, or may be learned from now: the device looks for it, and readers are told."""
        self.engine.wake()
        self.news.fed()

    @property
    def model_id(self) -> str:
        """The name that requests use: the reference, or the last part of a local folder's path."""
        ref = self.config.model.ref
        return Path(ref).name if ref.startswith(("/", ".", "~")) else ref

    def live_status(self) -> LiveStatus | None:
        """What the engine knows; None until it is ready."""
        return self.engine.live_status() if self.engine.ready else None

    def require_ready(self) -> None:
        """Raises ApiError 503 while the model is loading."""
        if self.engine.failure is not None:
            raise ApiError(503, self.engine.failure, code="model_failed")
        if not self.engine.ready:
            raise ApiError(503, "the model is loading", code="model_loading", headers={"Retry-After": "1"})


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]
