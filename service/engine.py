"""The one thread that owns the device: requests token by token, learning in their gaps and in its share between tokens.

A learning turn or a probe round is a generator (`edge_es.slices`), whose slices last `serve.max_slice_ms` at most.
While no request is in hand one follows the other; while some are, one goes when `Share` says so. Nothing of a turn is
visible before its row is durable.
"""

import logging
import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, TypeVar, cast

from edge_es import ledger
from edge_es.config import Config, parse_bytes
from edge_es.errors import EdgeError, StateError
from edge_es.model import Base, base_hash, load_base
from edge_es.slices import Slices
from service.generation import Busy, Generation, LiveStatus, Piece
from service.serving import Serving
from service.share import Share
from service.store import Store
from service.teaching import TURNED_OFF, Teaching

log = logging.getLogger(__name__)
T = TypeVar("T")
Listener = Callable[[str, dict[str, Any]], None]
STOPPED = "the daemon is stopping"


class Engine:
    """Public methods may be called from any thread; `start` first, then wait until `ready` or `failure`."""

    base: Base

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self.ready = False
        self.failure: str | None = None
        self._teaching: Teaching | None = None
        self._serving: Serving | None = None
        self._changed = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._share = Share(config.serve.max_slowdown, config.serve.max_slice_ms / 1000)
        self._stopping = False
        self._working = False
        self._asked, self._looked = 1, 0  # how often there may be new work; up to which the device has looked for it
        self._probes: list[Future[None]] = []
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Loads the model on the device thread and returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes the requests in hand, drops the turn in hand; what is durable stays."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, generation: Generation) -> None:
        """Queues a request. Raises Busy when too many wait."""
        with self._changed:
            if len(self._waiting) >= self._config.serve.max_waiting:
                raise Busy(f"{len(self._waiting)} requests wait already; try again in a moment")
            if self._stopping:
                raise Busy(STOPPED)
            self._waiting.append(generation)
            self._changed.notify()

    def wake(self) -> None:
        """New feedback waits in the store."""
        with self._changed:
            self._asked += 1
            self._changed.notify()

    def pause(self, reason: str) -> None:
        """No further turn begins until `resume`; the one in hand is dropped."""
        self._call(lambda: self._learning().pause(reason)).result()

    def resume(self) -> None:
        """Learning goes on."""
        self._call(lambda: self._learning().resume()).result()

    def rollback(self, version: int, reason: str) -> Future[int]:
        """A new version with the delta of `version`; the future holds its number, or StateError."""
        return self._call(lambda: self._learning().roll_back(version, reason))

    def probe(self) -> Future[None]:
        """A probe round of the served version; done when its results are stored."""
        done: Future[None] = Future()

        def ask() -> None:
            self._probes.append(done)
            self._learning().force_probe()

        self._call(ask)
        return done

    def verify(self) -> Future[dict[str, Any]]:
        """Replays the ledger and hashes the base, beside the device thread: neither changes anything."""
        done: Future[dict[str, Any]] = Future()

        def check() -> None:
            try:
                bound = self._store.model_binding()
                found, now = ledger.verify(self._store), base_hash(self.base)
                ok = found["mismatches"] == 0 and bound is not None and now == bound.sha256
                done.set_result({**found, "base_sha256": now, "ok": ok})
            except (EdgeError, OSError) as error:
                done.set_exception(error)

        threading.Thread(target=check, name="verify", daemon=True).start()
        return done

    def live_status(self) -> LiveStatus:
        """What only the running daemon knows. Call when `ready`."""
        paused = self._learning().paused()
        busy = self._working or self._asked != self._looked  # who has just sent feedback must not be told `idle`
        state: Literal["active", "idle", "paused"] = "paused" if paused else "active" if busy else "idle"
        return LiveStatus(
            version=self._learning().state.version,
            learning=state,
            reason=paused,
            device=str(self.base.device),
            model=self._config.model.ref,
            quantization=self.base.quantization,
            memory=self._memory(),
        )

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """`listener(kind, data)` is called on the device thread; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # the device thread

    def _run(self) -> None:
        try:
            self._load()
        except EdgeError as error:
            self.failure = str(error)
            return
        except Exception as error:  # the thread's outermost frame: the daemon must say why it has no model
            log.exception("the model could not be loaded")
            self.failure = f"the model could not be loaded: {error}"
            return
        self.ready = True
        work: Slices[None] | None = None
        while not self._stopping:
            # A job may change what the work in hand stands on, so that is dropped; nothing of it was visible.
            if self._jobs and work is not None:
                work.close()
                work = None
                self._guarded(self._learning().reload, failed=None)
            while self._jobs:
                self._jobs.popleft()()
            served = self._serve()
            if served and not self._share.admits():
                continue
            if work is None:
                asked = self._asked
                work = self._guarded(self._learning().next_work, failed=None)
                self._looked = asked
                self._turned(work is not None)
            if work is not None:
                began = time.perf_counter()
                work = self._advance(work)
                if served:
                    self._share.learned(time.perf_counter() - began)
            elif not served:
                with self._changed:
                    if not (self._waiting or self._jobs or self._stopping or self._asked != self._looked):
                        self._changed.wait(timeout=1.0)
        if work is not None:
            work.close()
        self._finish()

    def _load(self) -> None:
        self.base = load_base(self._config.model)
        self._store.bind_model(self._config.model.ref, self.base.quantization, self.base.sha256)
        self._teaching = Teaching(self.base, self._config, self._store, self._announce)
        serve = self._config.serve
        self._serving = Serving(self.base, parse_bytes(serve.prefix_cache))
        # A slice of learning keeps requests waiting: batches are as long as the device is known to manage in that time.
        for pace in (self.base.costs.reading, self.base.costs.decoding):
            pace.limit = serve.max_slice_ms / 1000
        # What `status` tells of a stopped daemon.
        turned_off = None if self._config.learn.enabled else TURNED_OFF
        left = {"device": str(self.base.device), "memory": self._memory(), "turned_off": turned_off}
        self._store.put_setting("machine", left)

    def _turned(self, working: bool) -> None:
        """Tells those who listen where work begins or ends."""
        if working == self._working:
            return
        self._working = working
        if self._learning().paused() is None:
            self._announce("learning", {"state": "active" if working else "idle", "reason": None})

    def _serve(self) -> bool:
        """One token for every request in hand, and some of the prompts; False when there is none."""
        began = time.perf_counter()
        serving = self._serving
        assert serving is not None
        room = self._config.serve.max_rows
        with self._changed:
            joining: list[Generation] = []
            # A request of many choices may exceed the room by itself, but only alone.
            while self._waiting and (not len(serving) + _rows(joining) or self._fits(joining, room)):
                generation = self._waiting.popleft()
                if not generation.cancelled:
                    joining.append(generation)
        if not joining and not len(serving):
            return False
        try:
            if joining:
                serving.admit(joining, [self._learning().answerer(generation) for generation in joining])
            serving.step()
        except Exception as error:  # one bad batch must not end the thread that serves all others
            log.exception("an answer failed")
            for generation in joining:
                for choice in range(len(generation.samplings)):
                    generation.deliver(Piece(choice, "", (), 0, error=str(error)))
            serving.fail(str(error))
        self._share.served(time.perf_counter() - began)
        return True

    def _fits(self, joining: list[Generation], room: int) -> bool:
        assert self._serving is not None
        return len(self._serving) + _rows(joining) + len(self._waiting[0].samplings) <= room

    def _advance(self, work: Slices[None]) -> Slices[None] | None:
        """One slice of learning; None when the work is done or has failed."""

        def slice_() -> str | None:
            return next(work, "done")

        ended = self._guarded(slice_, failed=cast(str | None, "failed"))
        if ended == "done":
            self._guarded(self._settle_probes, failed=None)
        return work if ended is None else None

    def _guarded(self, action: Callable[[], T], failed: T) -> T:
        """Runs a piece of learning. What stops learning never stops serving: it pauses and says why (invariant 8)."""
        try:
            return action()
        except StateError as error:
            self._halt(str(error))
        except Exception as error:  # the outermost frame of whatever learning does
            log.exception("learning failed")
            self._halt(f"learning failed: {type(error).__name__}: {error}")
        return failed

    def _halt(self, reason: str) -> None:
        try:
            self._learning().halt(reason)
        except EdgeError as error:
            log.error("learning stops: %s", error)
        except Exception:  # whatever it is, requests are answered
            log.exception("learning stops, and could not be paused for the next start")
        for done in self._probes:  # who asked for a round hears of it when the pause stands
            done.set_exception(StateError(reason))
        self._probes.clear()

    def _settle_probes(self) -> None:
        if self._probes and not self._learning().probe_is_wanted():
            for done in self._probes:
                done.set_result(None)
            self._probes.clear()

    def _finish(self) -> None:
        """The requests in hand to their end; those that wait are told."""
        serving = self._serving
        assert serving is not None
        while self._waiting:
            for choice in range(len(self._waiting[0].samplings)):
                self._waiting[0].deliver(Piece(choice, "", (), 0, error=STOPPED))
            self._waiting.popleft()
        while len(serving):
            serving.step()
        while self._jobs:
            self._jobs.popleft()()

    def _call(self, job: Callable[[], Any]) -> Future[Any]:
        """Runs `job` on the device thread between two slices."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(job())
            except Exception as error:  # handed to the caller, who knows what it means
                done.set_exception(error)

        with self._changed:
            if self.failure is not None:
                raise StateError(self.failure)
            self._jobs.append(run)
            self._asked += 1
            self._changed.notify()
        return done

    def _learning(self) -> Teaching:
        if self._teaching is None:
            raise StateError("the model is still loading; try again in a moment")
        return self._teaching

    def _announce(self, kind: str, data: dict[str, Any]) -> None:
        for listener in list(self._listeners):
            listener(kind, data)

    def _memory(self) -> dict[str, Any]:
        """peak_bytes: the allocator's peak on a GPU, the process's peak resident size on a CPU.
        batches_halved: how often a batch ran out of memory; for some time after that, batches are planned smaller."""
        import torch

        setting = self._config.learn.memory_budget
        if self.base.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.base.device)
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "budget_bytes": None if setting == "auto" else parse_bytes(setting),
            "base_bytes": self.base.weight_bytes,
            "peak_bytes": peak,
            "batches_halved": self.base.costs.halved,
        }


def _rows(generations: list[Generation]) -> int:
    return sum(len(generation.samplings) for generation in generations)
