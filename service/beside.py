"""Long work that only reads, on threads of its own: neither requests nor learning wait for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from edge_es import ledger
from edge_es.model import Base, base_hash
from service import exporting
from service.exporting import Wanted
from service.store import Store

T = TypeVar("T")


def beside(name: str, work: Callable[[], T]) -> Future[T]:
    """Runs `work` on a thread of its own."""
    done: Future[T] = Future()
    threading.Thread(target=settle, args=(done, work), name=name, daemon=True).start()
    return done


def settle(done: Future[T], work: Callable[[], T]) -> None:
    """Does `work`; its result or its error is the future's."""
    try:
        done.set_result(work())
    except Exception as error:  # handed to the caller, who knows what it means
        done.set_exception(error)


def verified(base: Base, store: Store) -> dict[str, Any]:
    """Replays the ledger and hashes the base; `ok`: both are what they were."""
    bound = store.model_binding()
    found, now = ledger.verify(store), base_hash(base)
    ok = found["mismatches"] == 0 and bound is not None and now == bound.sha256
    return {**found, "base_sha256": now, "ok": ok}


def exported(base: Base, store: Store, wanted: Wanted, name: str | None) -> dict[str, Any]:
    """The export that lies in the state folder now. name: by default the kind and the version."""

    def target(version: int) -> Path:
        return exporting.place(store.folder, exporting.EXPORTS, name or f"{wanted.kind}-v{version}")

    return exporting.export(lambda: base, store, wanted, target)
