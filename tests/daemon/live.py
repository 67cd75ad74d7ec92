"""The real daemon for tests: as a child process on a free port, or in this process where a start costs too much."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import uvicorn
from typer.testing import CliRunner

from edge_es.config import Config
from service.cli.main import app
from service.resolve import is_held_out
from service.store import Store, state_folder

if TYPE_CHECKING:
    from service.engine import Engine

T = TypeVar("T")
PATIENCE = 200.0  # seconds until a wait fails: only for a daemon that hangs, however slow the machine


def until(probe: Callable[[], T], what: str, alive: Callable[[], bool] = lambda: True) -> T:
    """The first true value of `probe`; fails where that never comes or what is waited for is gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = probe()
        if found:
            return found
        assert alive(), f"gone while waiting for {what}"
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.03)


def toml(tree: dict[str, Any], prefix: str = "") -> str:
    """A small TOML writer: sections of JSON-like values."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    head = f"[{prefix}]\n" if prefix and plain else ""
    nested = [toml(value, f"{prefix}.{key}".lstrip(".")) for key, value in tree.items() if isinstance(value, dict)]
    return head + "".join(f"{line}\n" for line in plain) + "".join(nested)


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, section by section."""
    tree = dict(under)
    for key, value in over.items():
        known = tree.get(key)
        tree[key] = merged(known, value) if isinstance(value, dict) and isinstance(known, dict) else value
    return tree


def small(model: Path, suites: Sequence[Path], protected: Path) -> dict[str, Any]:
    """The least that learns: few members, small batches, probes often, every gate open, steps as long as they are."""
    return {
        "model": {"ref": str(model), "device": "cpu"},
        "search": {"population": 8, "rank": 2, "sigma": 0.05, "alpha": 0.05, "step_kl": 1e6},
        "learn": {"min_events": 4, "batch": 4, "max_uses": 2, "holdout": 0.0, "task_tokens": 4},
        "gates": {"min_reliability": -1.0, "max_tie_rate": 1.0, "canary_kl": 1000.0},
        "guards": {"protect": {"energy": 0.9, "inputs": str(protected)}},
        "probes": {"every": 2, "suites": [str(path) for path in suites]},
        "serve": {"port": 0},
    }


def event_id(number: int, held_out: bool, share: float) -> str:
    """A fixed id that the daemon holds out, or does not, at this share."""
    tries = (str(uuid.UUID(int=(number << 64) + salt, version=4)) for salt in range(10_000))
    return next(one for one in tries if is_held_out(one, share) == held_out)


def demonstration(number: int, **more: Any) -> dict[str, Any]:
    """A lesson; each number has its own prompt."""
    prompt = [{"role": "user", "content": f"zorp {number}"}]
    return {"input": {"messages": prompt}, "metric_name": "demonstration", "value": "yes", **more}


@dataclass
class Live:
    """A daemon that serves. client: has the admin token. process: or store and engine where it runs in this one."""

    folder: Path
    url: str
    client: httpx.Client
    process: "subprocess.Popen[bytes] | None" = None
    store: Store | None = None
    engine: "Engine | None" = None

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.client.post(path, json=body or {})
        assert answer.is_success, answer.text
        return answer.json()

    def send(self, body: dict[str, Any]) -> str:
        """Posts feedback or a task; its id."""
        found: str = self.post("/v1/tasks" if "grader" in body else "/v1/feedback", body)["feedback_id"]
        return found

    def fate(self, event: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/feedback/{event}")
        return found

    def versions(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The attempts, of one kind where it is given."""
        return [row for row in self.get("/v1/versions")["versions"] if kind in (None, row["kind"])]

    def alive(self) -> bool:
        return self.process is None or self.process.poll() is None

    def until(self, probe: Callable[[], T], what: str) -> T:
        return until(probe, what, self.alive)

    def rest(self) -> dict[str, Any]:
        """The status, once there is nothing left to learn or to probe."""
        return self.until(lambda: (row := self.get("/v1/status"))["learning"] != "active" and row, "the learner's rest")

    def chat(self, content: str = "hello", max_tokens: int = 8, **more: Any) -> httpx.Response:
        """A greedy answer."""
        model = self.get("/v1/models")["data"][0]["id"]
        body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
        return self.client.post("/v1/chat/completions", json={**body, "temperature": 0, **more})

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def _admin(url: str, folder: Path) -> httpx.Client:
    token = json.loads((folder / "tokens.json").read_text())["admin"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=PATIENCE)


def _found(folder: Path, pid: int) -> str | None:
    """The address of the daemon with this pid, once its model is loaded."""
    try:
        note = json.loads((folder / "daemon.json").read_text())
        ready = note["pid"] == pid and httpx.get(note["url"] + "/readyz", trust_env=False, timeout=30).is_success
    except (OSError, ValueError, httpx.HTTPError):
        return None
    return note["url"] if ready else None


@contextmanager
def child(place: Path, tree: dict[str, Any]) -> Iterator[Live]:
    """`edge-es serve` as a process of its own, on the state folder `place`/state. Ends with the block."""
    place.mkdir(parents=True, exist_ok=True)
    folder, config, log = place / "state", place / "config.toml", place / "log"
    config.write_text(toml(tree))
    command = [sys.executable, "-m", "service.cli.main", "serve", "--config", str(config), "--state-dir", str(folder)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        try:
            url = until(lambda: _found(folder, process.pid), "the daemon", lambda: process.poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from None
        with _admin(url, folder) as client:
            yield Live(folder, url, client, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@contextmanager
def inside(folder: Path, tree: dict[str, Any]) -> Iterator[Live]:
    """The same daemon in threads of this process: real store, real engine, real HTTP; no start of a new Python."""
    from service.app import create_app
    from service.daemon import listen, url_of
    from service.engine import Engine

    config = Config(**merged(tree, {"state": {"dir": str(folder)}}))
    store = Store(state_folder(config))
    engine = Engine(config, store)
    bound = listen("127.0.0.1", 0)
    application = create_app(config, store, engine)
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    engine.start()
    try:
        until(lambda: engine.ready or engine.failure, "the model")
        assert engine.failure is None, engine.failure
        with _admin(url_of(bound), folder) as client:
            yield Live(folder, url_of(bound), client, store=store, engine=engine)
    finally:
        server.should_exit = True
        thread.join()
        engine.stop()
        bound.close()
        store.close()


def cli(*arguments: str, status: int = 0) -> Any:
    """A command in this process: its JSON where that was asked for, else what it says on standard error."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments and done.stdout else done.stderr


def one_line(text: str) -> str:
    """The only line that begins with the program's name: the reason why it ended."""
    lines = [line for line in text.splitlines() if line.startswith("edge-es: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
