"""The listings of a target, the same rows whether a daemon answers or its folder is read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.cli.address import Daemon
from service.cli.target import Folder, Target

if TYPE_CHECKING:
    from service.store import Store

Rows = list[dict[str, Any]]


@contextmanager
def opened(folder: Folder) -> Iterator["Store"]:
    """The store of a stopped daemon, for reading only: not a byte of the folder changes."""
    from service.store import Store

    store = Store.open_read_only(folder.path)
    try:
        yield store
    finally:
        store.close()


def _read(target: Target, path: str, key: str | None, listing: "Callable[[Store], Any]", **asked: str | int) -> Any:
    """What `listing` makes of a folder's store, or what a daemon answers at `path` (under `key`): the same."""
    if isinstance(target, Daemon):
        from service.cli.client import get

        answer = get(target, path, **asked)
        return answer if key is None else answer[key]
    with opened(target) as store:
        return listing(store)


def status(target: Target) -> dict[str, Any]:
    """The row of `edge-es status`."""
    from service import listings

    found: dict[str, Any] = _read(target, "/v1/status", None, listings.status)
    return found


def versions(target: Target) -> Rows:
    """The rows of `edge-es versions`, oldest first."""
    from service import listings

    rows: Rows = _read(target, "/v1/versions", "versions", listings.versions)
    return rows


def retention(target: Target) -> Rows:
    """The rows of `edge-es retention log`, oldest first."""
    from service import listings

    rows: Rows = _read(target, "/v1/retention", "retention", listings.retention_log)
    return rows


def retention_items(target: Target, version: int) -> Rows:
    """Item by item: [{suite, item, anchor, score}] of one probed version."""
    from service import listings

    def listing(store: "Store") -> Rows:
        return listings.retention_items(store, version)

    rows: Rows = _read(target, "/v1/retention", "items", listing, version=version, items="true")
    return rows


def blame(target: Target) -> Rows:
    """The rows of `edge-es retention blame`, oldest first."""
    from service import listings

    rows: Rows = _read(target, "/v1/retention/blame", "blame", listings.blame)
    return rows


def suites(target: Target) -> Rows:
    """The rows of `edge-es probe list`, by name."""
    from service import listings

    rows: Rows = _read(target, "/v1/probes", "suites", listings.suites)
    return rows
