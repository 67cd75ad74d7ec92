"""The one thread that owns the device: requests token by token, learning in their gaps and in its share between tokens.

A learning turn or a probe round is a generator (`edge_es.slices`). While no request is in hand one slice follows the
other; while some are, one goes when `Share` says so. Slices are as short as `service/share.py` wants them, by measured
pace. Nothing of a turn is visible before its row is durable.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from edge_es.config import Config, parse_bytes
from edge_es.errors import EdgeError, StateError
from edge_es.memory import hold_to
from edge_es.model import Base, load_base
from edge_es.slices import Slices
from service import exporting
from service.beside import beside, exported, settle, verified
from service.device import lost, memory, relieved, settled
from service.exporting import ImportKind, Wanted
from service.generation import Busy, Generation, LiveStatus
from service.serving import Serving
from service.share import Share, slice_seconds
from service.store import Store
from service.teaching import TURNED_OFF, Teaching

log = logging.getLogger(__name__)
T = TypeVar("T")
Listener = Callable[[str, dict[str, Any]], None]
STOPPED = "the daemon is stopping"
LOOK_AGAIN = 1.0  # seconds after which work is looked for though nothing was asked for


@dataclass(frozen=True)
class _Job:
    """Something for the device thread between two slices. drops: the work in hand does not go on afterwards."""

    run: Callable[[], None]
    drops: bool


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
        self._jobs: deque[_Job] = deque()
        self._longest = config.serve.max_slice_ms / 1000
        self._share = Share(config.serve.max_slowdown, slice_seconds(None, self._longest))
        self._served = -math.inf  # when a request was last in hand
        self.seconds = {"serving": 0.0, "learning": 0.0, "waiting": 0.0}  # of the device thread, since it was ready
        self._stopping = False
        self._work: Slices[None] | None = None
        self.beat = time.monotonic()  # when the device thread last came round
        self._working = False
        self._found_none = -math.inf  # when there was last found to be no work
        self._asked, self._looked = 1, 0  # how often there may be new work; up to which the device has looked for it
        self._exporting = threading.Lock()
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
                self._waiting = deque(one for one in self._waiting if not one.cancelled)
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

        self._call(ask, drops=False)  # a round comes after the turn in hand, or who asks often would starve learning
        return done

    def verify(self) -> Future[dict[str, Any]]:
        """Replays the ledger and hashes the base, beside the device thread: neither changes anything."""
        return beside("verify", lambda: verified(self.base, self._store))

    def export(self, wanted: Wanted, name: str | None) -> Future[dict[str, Any]]:
        """Writes an export, beside the device thread: it only reads. One at a time; raises Busy for another."""
        if not self._exporting.acquire(blocking=False):
            raise Busy("an export is being written; try again when it is done")

        def write() -> dict[str, Any]:
            try:
                return exported(self.base, self._store, wanted, name)
            finally:
                self._exporting.release()

        return beside("export", write)

    def adopt(self, kind: ImportKind, folder: Path, any_base: bool) -> Future[dict[str, Any]]:
        """The delta in `folder` as a new version. Reads it beside the device thread, takes it up on that thread."""

        def take() -> dict[str, Any]:
            found = exporting.read_import(self.base, kind, folder, any_base)
            adopted: Future[dict[str, Any]] = self._call(lambda: self._learning().adopt(found))
            return {"kind": kind, **adopted.result()}

        return beside("import", take)

    def live_status(self) -> LiveStatus:
        """What only the running daemon knows. Call when `ready`."""
        learning = self._learning()
        paused = learning.paused() or learning.elsewhere.trouble
        busy = self._working or self._asked != self._looked  # who has just sent feedback must not be told `idle`
        state: Literal["active", "idle", "paused"] = "paused" if paused else "active" if busy else "idle"
        return LiveStatus(
            version=learning.state.version,
            learning=state,
            reason=paused,
            device=str(self.base.device),
            model=self._config.model.ref,
            quantization=self.base.quantization,
            memory=memory(self.base, self._config),
            seconds=dict(self.seconds),
            workers=learning.elsewhere.rows(),
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
        try:
            self._loop()
        except Exception as error:  # the thread's outermost frame: without a device there is no daemon
            log.exception("the device thread ends")
            self.failure = f"the device is lost: {error}"
            if self._serving is not None:
                self._serving.fail(self.failure)
            self._refuse_waiting(self.failure)

    def _loop(self) -> None:
        while not self._stopping:
            self.beat = time.monotonic()
            while self._jobs:
                job = self._jobs.popleft()
                if job.drops:
                    self._drop_work()
                job.run()
            served = self._serve()
            if served and not self._share.admits():
                continue
            began = time.perf_counter()
            if self._work is None and not (served and self._rests(began)):
                asked = self._asked
                self._work = self._guarded(self._learning().next_work, failed=None)
                self._looked, self._found_none = asked, began
                self._turned(self._work is not None)
            if self._work is not None:
                self._limit_slices(None if served else began - self._served)
                self._work = self._advance(self._work)
            elif not served:
                with self._changed:
                    if not (self._waiting or self._jobs or self._stopping or self._asked != self._looked):
                        self._changed.wait(timeout=LOOK_AGAIN)
                self._took("waiting", began)
                continue
            if served:
                self._share.learned(time.perf_counter() - began)
            self._took("learning", began)
        if self._work is not None:
            self._work.close()
        self._finish()

    def _drop_work(self) -> None:
        """What the work in hand stands on may change, or its memory is wanted; nothing of it was visible."""
        if self._work is not None:
            self._work.close()
            self._work = None
            self._guarded(self._learning().reload, failed=None)

    def _load(self) -> None:
        self.base = load_base(self._config.model)
        hold_to(self._config.learn.memory_budget, self.base.device)
        self._store.bind_model(self._config.model.ref, self.base.quantization, self.base.sha256)
        self._teaching = Teaching(self.base, self._config, self._store, self._announce)
        self._serving = Serving(self.base, parse_bytes(self._config.serve.prefix_cache))
        # What `status` tells of a stopped daemon.
        turned_off = None if self._config.learn.enabled else TURNED_OFF
        left = {"device": str(self.base.device), "memory": memory(self.base, self._config), "turned_off": turned_off}
        self._store.put_setting("machine", left)
        settled()

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
            while self._waiting and self._waiting[0].cancelled:
                self._waiting.popleft()
            # A request of many choices may exceed the room by itself, but only alone.
            while self._waiting and (not len(serving) + _rows(joining) or self._fits(joining, room)):
                generation = self._waiting.popleft()
                if not generation.cancelled:
                    joining.append(generation)
        if not joining and not len(serving):
            return False
        self._limit_slices(0.0)
        try:
            if joining:
                serving.admit(joining, [self._learning().answerer(generation) for generation in joining])
            self._step(serving)
        except Exception as error:  # one bad batch must not end the thread that serves all others
            if lost(error):
                raise
            log.exception("an answer failed")
            for generation in joining:
                generation.fail(str(error))
            serving.fail(str(error))
        self._served = time.perf_counter()
        self._share.served(self._served - began)
        self._took("serving", began)
        return True

    def _step(self, serving: Serving) -> None:
        """A step of the requests in hand. Where memory runs out learning gives back what it holds, and then those whose
        prompts are still to be read have to go, before all others."""
        error = relieved(serving.step, self._drop_work, self.base.device)
        if error is not None and not serving.reading:
            raise error
        if error is not None:
            serving.fail_reading("there is no memory for one more prompt of this length; try again in a moment")

    def _rests(self, now: float) -> bool:
        """Whether there was nothing to learn a moment ago, and nothing was asked for since. Looking costs queries, and
        while requests are in hand each would be a token's."""
        return not self._working and self._asked == self._looked and now - self._found_none < LOOK_AGAIN

    def _limit_slices(self, quiet: float | None) -> None:
        """Batches last a slice, by measured pace, where no request was in hand for `quiet` seconds; None: one is."""
        for pace in (self.base.costs.reading, self.base.costs.decoding):
            pace.limit = slice_seconds(quiet, self._longest)

    def _took(self, use: str, began: float) -> None:
        self.seconds[use] += time.perf_counter() - began

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
            if lost(error):
                raise
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
        assert self._serving is not None
        self._refuse_waiting(STOPPED)
        while len(self._serving):
            self._serving.step()
        while self._jobs:
            self._jobs.popleft().run()
        self._learning().elsewhere.close()

    def _refuse_waiting(self, message: str) -> None:
        while self._waiting:
            self._waiting.popleft().fail(message)

    def _call(self, job: Callable[[], Any], drops: bool = True) -> Future[Any]:
        """Runs `job` on the device thread between two slices. drops: what is in hand does not go on afterwards."""
        done: Future[Any] = Future()
        with self._changed:
            if self.failure is not None:
                raise StateError(self.failure)
            self._jobs.append(_Job(lambda: settle(done, job), drops))
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


def _rows(generations: list[Generation]) -> int:
    return sum(len(generation.samplings) for generation in generations)
