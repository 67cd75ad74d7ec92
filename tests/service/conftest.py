"""Fixtures: a served application around the echoing engine."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from echo_daemon import Daemon, served

from service.store import Store


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon with some configuration."""
    with ExitStack() as stack:

        def start(**sections: dict[str, Any]) -> Daemon:
            return stack.enter_context(served(tmp_path / "state", **sections))

        yield start


@pytest.fixture
def daemon(serving: Callable[..., Daemon]) -> Daemon:
    """A daemon with the default configuration."""
    return serving()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new state folder, opened."""
    with Store(tmp_path / "state") as opened:
        yield opened
