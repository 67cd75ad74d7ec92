"""The process around the application: how it starts, what it refuses, how it ends. The engine echoes."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from edge_es.config import Config
from edge_es.errors import ConfigError
from service.daemon import listen, serve, url_of
from service.store import Store

SCRIPT = """
import sys, types
sys.path.insert(0, {tests!r})
from echo_daemon import EchoEngine

class Engine(EchoEngine):
    def __init__(self, config, store):
        super().__init__(store)
        self.token_seconds = {token_seconds}

    def start(self):
        {start}

    def stop(self):
        {stop}

sys.modules["service.engine"] = types.SimpleNamespace(Engine=Engine)
from edge_es.config import load
from service.daemon import leave, serve

leave(serve(load(None, {{"state": {{"dir": sys.argv[1]}}, "serve": {{"port": int(sys.argv[2])}}}})))
"""


@dataclass
class Process:
    """A daemon that runs. `client` has the admin token."""

    child: "subprocess.Popen[str]"
    folder: Path
    client: httpx.Client

    def end(self) -> tuple[int, str]:
        """SIGTERM; the exit status and what was said on standard error."""
        self.child.send_signal(signal.SIGTERM)
        _, said = self.child.communicate(timeout=60)
        return self.child.returncode, said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the daemon as a process of its own and waits until it is ready."""
    children = []

    def run(start: str = "super().start()", stop: str = "super().stop()", token_seconds: float = 0.0) -> Process:
        script = SCRIPT.format(tests=str(Path(__file__).parent), token_seconds=token_seconds, start=start, stop=stop)
        folder = tmp_path / "state"
        command = [sys.executable, "-c", script, str(folder), "0"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout is not None
        said = child.stdout.readline()
        if not said:
            return Process(child, folder, httpx.Client())
        note = json.loads((folder / "daemon.json").read_text())
        assert note["pid"] == child.pid and said == f"edge-es serves pocket (nf4, cpu) at version 0 on {note['url']}\n"
        token = json.loads((folder / "tokens.json").read_text())["admin"]
        headers = {"Authorization": f"Bearer {token}"}
        return Process(child, folder, httpx.Client(base_url=note["url"], headers=headers, trust_env=False, timeout=60))

    yield run
    for child in children:
        child.kill()
        child.communicate()


def at_rest(folder: Path) -> None:
    """Nothing is left behind that only a crash leaves."""
    left = {path.name for path in folder.iterdir()}
    assert left == {"blobs", "edge-es.sqlite", "lock", "tokens.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    Store(folder).close()


def test_sigterm_finishes_the_request_in_hand_and_ends_endless_streams(start: Callable[..., Process]) -> None:
    daemon = start(token_seconds=0.05)
    answers: list[httpx.Response] = []
    body = {"model": "pocket", "prompt": "x" * 20}
    asking = threading.Thread(target=lambda: answers.append(daemon.client.post("/v1/completions", json=body)))
    with daemon.client.stream("GET", "/v1/events") as events:
        lines = events.iter_lines()
        next(lines)
        asking.start()
        while "edge_es_first_token_seconds_count 1.0" not in daemon.client.get("/metrics").text:
            time.sleep(0.02)
        status, _ = daemon.end()
        list(lines)  # ends
    asking.join()
    assert status == 0
    assert answers[0].json()["choices"][0]["text"] == "x" * 20
    at_rest(daemon.folder)
    with Store.open_read_only(daemon.folder) as store:
        assert store.completion(answers[0].json()["id"]) is not None
        assert store.get_setting("machine")["device"] == "cpu"


def test_a_request_without_end_does_not_keep_the_daemon(start: Callable[..., Process]) -> None:
    daemon = start(token_seconds=1.0)
    with daemon.client.stream(
        "POST", "/v1/completions", json={"model": "pocket", "prompt": "x" * 400, "stream": True}
    ) as answer:
        next(answer.iter_lines())
        status, _ = daemon.end()
    assert status == 0
    at_rest(daemon.folder)


def test_a_device_that_hangs_does_not_keep_the_daemon(start: Callable[..., Process]) -> None:
    daemon = start(stop="import time; time.sleep(600)")
    status, said = daemon.end()
    assert status == 0 and "last durable state" in said
    assert not (daemon.folder / "daemon.json").exists()
    with Store(daemon.folder) as store:
        assert len(store.rows()) == 1


def test_a_killed_daemon_leaves_all_that_was_acknowledged(start: Callable[..., Process]) -> None:
    daemon = start()
    body = {"input": {"prompt": "a"}, "metric_name": "demonstration", "value": "b"}
    ids = [daemon.client.post("/v1/feedback", json=body).json()["feedback_id"] for _ in range(5)]
    daemon.child.kill()
    daemon.child.wait()
    assert (daemon.folder / "edge-es.sqlite-wal").exists()
    with Store.open_read_only(daemon.folder) as reader:
        assert [fate.id for fate in reader.list_events()] == ids
    again = start()
    assert [row["id"] for row in again.client.get("/v1/feedback").json()["feedback"]] == ids
    assert again.end()[0] == 0


def test_a_model_that_cannot_be_loaded_ends_the_daemon_in_one_line(start: Callable[..., Process]) -> None:
    daemon = start(start="self.ready, self.failure = False, \"model 'x' cannot be loaded\"", stop="pass")
    _, said = daemon.child.communicate(timeout=60)
    assert daemon.child.returncode == 1
    assert said.splitlines()[-1] == "edge-es: model 'x' cannot be loaded" and "Traceback" not in said
    assert not (daemon.folder / "daemon.json").exists()


def test_a_folder_of_another_model_ends_the_daemon_in_one_line(start: Callable[..., Process], tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        store.bind_model("llama", "int8", "b" * 64)
    begin = """
        try:
            super().start()
        except Exception as error:
            self.ready, self.failure = False, str(error)"""
    daemon = start(start=begin, stop="pass")
    _, said = daemon.child.communicate(timeout=60)
    assert daemon.child.returncode == 1
    assert "belongs to model llama (int8), not to pocket (nf4)" in said.splitlines()[-1]


def config(folder: Path, port: int = 0, host: str = "127.0.0.1") -> Config:
    return Config(**{"state": {"dir": str(folder)}, "serve": {"host": host, "port": port}})  # type: ignore[arg-type]


def test_a_second_daemon_on_a_folder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path):
        assert serve(config(tmp_path)) == 1
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("edge-es: ")]
    assert len(said) == 1 and str(tmp_path) in said[0] and "in use by process" in said[0]


def test_a_port_in_use_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert serve(config(tmp_path, port)) == 1
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("edge-es: ")]
    assert len(said) == 1 and str(port) in said[0] and "--port" in said[0]
    Store(tmp_path).close()  # the folder was let go


def test_an_address_that_is_not_ours_is_refused() -> None:
    for host in ("no.such.host.invalid", "192.0.2.1"):
        with pytest.raises(ConfigError, match=host):
            listen(host, 0)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")])
def test_the_address_that_is_told_can_be_reached(host: str, url: str) -> None:
    with listen(host, 0) as bound:
        assert url_of(bound) == f"{url}{bound.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6_addresses_are_written_in_brackets() -> None:
    try:
        bound = listen("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    with bound:
        assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"
