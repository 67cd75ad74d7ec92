"""Fixtures: a served application around the echoing engine."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from echo_daemon import Daemon, EchoEngine

from edge_es.config import Config
from service.app import create_app
from service.context import Context
from service.daemon import listen, url_of
from service.store import Store


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons with some configuration, on the same state folder."""
    running: list[Callable[[], None]] = []

    def start(**sections: dict[str, Any]) -> Daemon:
        config = Config(**{"state": {"dir": str(tmp_path / "state")}, **sections})  # type: ignore[arg-type]
        store = Store(tmp_path / "state")
        engine = EchoEngine(store)
        engine.start()
        app = create_app(config, store, engine)
        bound = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        url = url_of(bound)
        thread.start()
        context: Context = app.state.context
        admin = {"Authorization": f"Bearer {context.tokens.admin}"}
        daemon = Daemon(
            url,
            context,
            engine,
            httpx.Client(base_url=url, headers=admin, trust_env=False, timeout=30),
            httpx.Client(base_url=url, trust_env=False, timeout=30),
        )

        def stop() -> None:
            daemon.client.close()
            daemon.stranger.close()
            server.should_exit = True
            thread.join()
            engine.stop()
            bound.close()
            store.close()

        running.append(stop)
        return daemon

    yield start
    for stop in running:
        stop()


@pytest.fixture
def daemon(serving: Callable[..., Daemon]) -> Daemon:
    """A daemon with the default configuration."""
    return serving()
