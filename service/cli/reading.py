"""The listings of a target, the same rows whether a daemon answers or its folder is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.cli.address import Daemon
from service.cli.target import Folder, Target

if TYPE_CHECKING:
    from service.store import Store


@contextmanager
def opened(folder: Folder) -> Iterator["Store"]:
    """The store of a stopped daemon, for reading only: not a byte of the folder changes."""
    from service.store import Store

    store = Store.open_read_only(folder.path)
    try:
        yield store
    finally:
        store.close()


def status(target: Target) -> dict[str, Any]:
    """The row of `edge-es status`."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        row: dict[str, Any] = get(target, "/v1/status")
        return row
    from service import listings

    with opened(target) as store:
        return listings.status(store)


def versions(target: Target) -> list[dict[str, Any]]:
    """The rows of `edge-es versions`, oldest first."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        rows: list[dict[str, Any]] = get(target, "/v1/versions")["versions"]
        return rows
    from service import listings

    with opened(target) as store:
        return listings.versions(store)


def retention(target: Target) -> list[dict[str, Any]]:
    """The rows of `edge-es retention log`, oldest first."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        rows: list[dict[str, Any]] = get(target, "/v1/retention")["retention"]
        return rows
    from service import listings

    with opened(target) as store:
        return listings.retention_log(store)


def retention_items(target: Target, version: int) -> list[dict[str, Any]]:
    """Item by item: [{suite, item, anchor, score}] of one probed version."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        rows: list[dict[str, Any]] = get(target, "/v1/retention", version=version, items="true")["items"]
        return rows
    from service import listings

    with opened(target) as store:
        return listings.retention_items(store, version)


def blame(target: Target) -> list[dict[str, Any]]:
    """The rows of `edge-es retention blame`, oldest first."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        rows: list[dict[str, Any]] = get(target, "/v1/retention/blame")["blame"]
        return rows
    from service import listings

    with opened(target) as store:
        return listings.blame(store)
