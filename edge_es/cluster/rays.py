"""All that is known of Ray: a cluster of one's own or another's, workers in it, and what has come back.

Ray takes over signal handlers and reports usage where one lets it; here it may do neither. A local cluster listens on
loopback alone, without a dashboard.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edge_es.cluster.extra import INSTALL
from edge_es.cluster.worker import Worker
from edge_es.config import ModelSection, WorkersSection
from edge_es.errors import EdgeError

REACH = 5.0  # seconds
STORE_BYTES = 80 * 2**20  # of a local cluster's shared memory, Ray's least: nothing large crosses


class ClusterError(EdgeError):
    """There is no cluster, or too little of it: no learning by it."""


def ray() -> Any:
    """The module. Raises ClusterError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray as found
    except ImportError:
        raise ClusterError(INSTALL) from None
    return found


def connect(settings: WorkersSection) -> None:
    """To the cluster at `address`, or to a new one on this machine. Raises ClusterError."""
    found = ray()
    if found.is_initialized():
        return
    if settings.address != "local":
        _reach(settings.address)
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": "edge-es"}
    with _own_signals():
        try:
            if settings.address == "local":
                found.init(
                    num_cpus=settings.count * settings.cpus,
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                found.init(address=settings.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ClusterError(f"no Ray cluster at address '{settings.address}': {line}") from None


def _reach(address: str) -> None:
    """Ray itself tries for minutes where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at address '{address}': {error}") from None


def leave() -> None:
    """Ends a local cluster, or the connection to another."""
    found = ray()
    if found.is_initialized():
        with _own_signals():
            found.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray installs handlers of its own in the main thread; the process's own come back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:
                signal.signal(number, handler)


def hire(model: ModelSection, budget: str, settings: WorkersSection) -> Any:
    """A worker somewhere in the cluster; it loads its model before it answers the first call."""
    kind = ray().remote(Worker)
    return kind.options(num_cpus=settings.cpus, num_gpus=settings.gpus, max_restarts=0).remote(
        model, budget, settings.cpus if settings.address == "local" else None
    )


def dismiss(actor: Any) -> None:
    """Ends a worker, whatever it does."""
    ray().kill(actor, no_restart=True)


def put(value: object) -> Any:
    """Crosses once to each machine, however many calls name it."""
    return ray().put(value)


def ready(tickets: Sequence[Any], seconds: float) -> set[Any]:
    """Those of the calls that have ended, as soon as there is one; after at most so long."""
    if not tickets:
        return set()
    done, _ = ray().wait(list(tickets), num_returns=1, timeout=seconds)
    if done and len(done) < len(tickets):
        done, _ = ray().wait(list(tickets), num_returns=len(tickets), timeout=0)
    return set(done)


def result(ticket: Any) -> Any:
    """What a call that has ended returned. Raises ClusterError with one line where it failed or its worker is gone."""
    found = ray()
    try:
        return found.get(ticket)
    except found.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        line = (str(cause).strip() or type(cause).__name__).splitlines()[-1]
        raise ClusterError(f"{type(cause).__name__}: {line}"[:300]) from None
