"""A daemon without a model: the real application, store and HTTP server around an engine that echoes."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn

from edge_es import ledger
from edge_es.answers import TokenLogprob
from edge_es.config import Config
from edge_es.export.folder import placed, written
from edge_es.probes.verdicts import SuiteResult
from service import exporting
from service.app import create_app
from service.context import Context
from service.daemon import listen, url_of
from service.exporting import Wanted
from service.generation import Busy, Generation, LiveStatus, Piece
from service.store import Store
from service.wire import settings

END = 0
CONTEXT = 512


class Bytes:
    """A tokenizer: byte b is token b + 1, 0 ends a text."""

    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[byte + 1 for byte in text.encode()])

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return bytes(i - 1 for i in ids if i != END).decode(errors="replace")


class EchoEngine:
    """Answers with the last line of the prompt, a byte a token, on a thread of its own."""

    def __init__(self, store: Store, device: str = "cpu") -> None:
        self.store = store
        self.base: Any = SimpleNamespace(tokenizer=Bytes(), context=CONTEXT, end_ids=(END,), pad_id=END, vocabulary=257)
        self.ready, self.failure, self.busy = True, None, False
        self.beat = time.monotonic()
        self.token_seconds = 0.0
        self.breaks: str | None = None
        self.woken, self.decoded = 0, 0
        self.learning, self.reason = "idle", None
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        self.generations: queue.Queue[Generation | None] = queue.Queue()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.store.bind_model("pocket", "nf4", "a" * 64)
        if not self.store.rows():
            self.store.append(ledger.anchor_row(), {})
        self.thread.start()

    def stop(self) -> None:
        self.generations.put(None)
        self.thread.join()

    def _run(self) -> None:
        while (generation := self.generations.get()) is not None:
            self._answer(generation)

    def _answer(self, generation: Generation) -> None:
        version = (self.store.newest_version() or 0) if generation.pinned is None else generation.pinned
        for choice, sampling in enumerate(generation.samplings):
            text = self.base.tokenizer.decode(generation.prompt(choice)).split("\n")[-1]
            tokens = [*self.base.tokenizer(text).input_ids, END]
            spoken: list[int] = []
            read = self._read(generation.prompt(choice), sampling.top) if sampling.echo else ()
            if sampling.max_tokens == 0:
                generation.deliver(Piece(choice, "", (), version, finish_reason="length", prompt_logprobs=read))
                continue
            for token in tokens:
                if generation.cancelled:
                    return
                if self.breaks:
                    generation.deliver(Piece(choice, "", (), version, error=self.breaks))
                    return
                time.sleep(self.token_seconds)
                self.decoded += 1
                spoken.append(token)
                said = self.base.tokenizer.decode(spoken)
                stopped = token == END or any(said.endswith(stop) for stop in sampling.stop)
                finish = "stop" if stopped else "length" if len(spoken) == sampling.max_tokens else None
                known = TokenLogprob(token, -0.5, tuple(((token + i) % 257, -0.5 - i) for i in range(sampling.top)))
                generation.deliver(
                    Piece(
                        choice,
                        "" if stopped else self.base.tokenizer.decode([token]),
                        (token,),
                        version,
                        (known,) if sampling.top >= 0 else (),
                        finish,  # type: ignore[arg-type]
                        prompt_logprobs=() if spoken[1:] or not sampling.echo else read,
                    )
                )
                if finish:
                    break

    def _read(self, prompt: tuple[int, ...], top: int) -> tuple[TokenLogprob, ...]:
        return tuple(
            TokenLogprob(token, -0.25, tuple(((token + i) % 257, -0.25 - i) for i in range(top)))
            for token in prompt[1:]
        )

    def submit(self, generation: Generation) -> None:
        if self.busy:
            raise Busy("256 requests wait already; try again in a second")
        self.generations.put(generation)

    def wake(self) -> None:
        self.woken += 1

    def pause(self, reason: str) -> None:
        self.learning, self.reason = "paused", reason
        self.store.put_setting("learning", {"paused": True, "reason": reason})
        self.tell("learning", {"learning": "paused", "reason": reason})

    def resume(self) -> None:
        self.learning, self.reason = "idle", None
        self.store.put_setting("learning", {"paused": False, "reason": None})

    def rollback(self, version: int, reason: str) -> "Future[int]":
        future: Future[int] = Future()
        try:
            future.set_result(ledger.rollback(self.store, version, reason).version or 0)
        except Exception as error:
            future.set_exception(error)
        return future

    def probe(self) -> "Future[None]":
        version = self.store.newest_version() or 0
        rows = [
            SuiteResult(version, "capitals", kind, 2, score, 1.0, score, score, 1.0, "kept", "t")
            for kind, score in (("generation", 0.75), ("loglik", 0.5))
        ]
        self.store.save_probe(version, "t", rows, {"capitals": [1.0, 0.5]})  # type: ignore[arg-type]
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def verify(self) -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        counts = {"versions": 1, "replayed": 1, "mismatches": 0, "compacted": 0, "since": 0}
        future.set_result({**counts, "base_sha256": "a" * 64, "ok": True})
        return future

    def export(self, wanted: Wanted, name: str | None) -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        version = wanted.version or 0
        target = exporting.place(self.store.folder, exporting.EXPORTS, name or f"{wanted.kind}-v{version}")
        try:
            with placed(target) as partial:
                (partial / "edge-es.json").write_text("{}")
            future.set_result({"version": version, **written(wanted.kind, target).as_json()})
        except Exception as error:
            future.set_exception(error)
        return future

    def adopt(self, kind: str, folder: Path, any_base: bool) -> "Future[dict[str, Any]]":
        future: Future[dict[str, Any]] = Future()
        future.set_result({"kind": kind, "version": 1, "rank": 8, "delta_norm": 1.0, "sha256": "a" * 64})
        return future

    def live_status(self) -> LiveStatus:
        memory = {"budget_bytes": None, "base_bytes": 1000, "peak_bytes": 2000, "batches_halved": 0}
        version = self.store.newest_version() or 0
        return LiveStatus(version, self.learning, self.reason, "cpu", "pocket", "nf4", memory, {"learning": 2.5})  # type: ignore[arg-type]

    def subscribe(self, listener: Callable[[str, dict[str, Any]], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        for listener in list(self.listeners):
            listener(name, data)


@dataclass
class Daemon:
    """A served application. `client` has the admin token, `stranger` has none."""

    url: str
    context: Context
    engine: EchoEngine
    client: httpx.Client
    stranger: httpx.Client

    @property
    def store(self) -> Store:
        return self.context.store


@contextmanager
def served(folder: Path, **sections: Any) -> Iterator[Daemon]:
    """The application with some configuration on a state folder, behind a real HTTP server on loopback."""
    config = Config(**{"state": {"dir": str(folder)}, **sections})
    with Store(folder) as store, listen("127.0.0.1", 0) as bound:
        engine = EchoEngine(store)
        engine.start()
        app = create_app(config, store, engine)
        server = uvicorn.Server(settings(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        context: Context = app.state.context
        url, admin = url_of(bound), {"Authorization": f"Bearer {context.tokens.admin}"}
        thread.start()
        try:
            with (
                httpx.Client(base_url=url, headers=admin, trust_env=False, timeout=30) as client,
                httpx.Client(base_url=url, trust_env=False, timeout=30) as stranger,
            ):
                yield Daemon(url, context, engine, client, stranger)
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
            engine.stop()


def use(store: Store, ids: list[str]) -> int:
    """A published step that used these events. Returns its version."""
    rows = store.rows()
    version = (store.newest_version() or 0) + 1
    row = ledger.Row(rows[-1].attempt + 1, version, version - 1, "step", ledger.now(), events=tuple(ids))
    store.append(row, {})
    return version


def refused(response: httpx.Response, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Asserts OpenAI's error shape and returns the error."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"] and "\n" not in error["message"]
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    return error
