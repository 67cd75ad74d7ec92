"""The device under the daemon: memory that runs out for a while, and one that is gone."""

from pathlib import Path
from typing import Any

import pytest

from edge_es.decode import Decoder
from service.device import lost
from tests.daemon.live import demonstration, inside, merged

NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


def failing(monkeypatch: pytest.MonkeyPatch, message: str, times: int) -> None:
    """The decoder's next forward passes raise."""
    real, left = Decoder._forward, iter(range(times))

    def forward(self: Decoder, *arguments: Any, **options: Any) -> Any:
        if next(left, None) is not None:
            raise RuntimeError(message)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Decoder, "_forward", forward)


def test_learning_gives_back_its_memory_before_an_answer_fails(
    tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, merged(tree, {"learn": {"max_uses": 1000}})) as live:
        for number in range(4):
            live.send(demonstration(number))
        live.until(lambda: live.get("/v1/status")["version"] >= 2, "learning")
        expected = live.chat().json()["choices"][0]["message"]["content"] is not None
        failing(monkeypatch, NO_MEMORY, 1)
        assert live.chat().status_code == 200 and expected
        at = live.get("/v1/status")["version"]
        live.until(lambda: live.get("/v1/status")["version"] > at, "learning, which goes on")
        assert live.get("/v1/verify")["ok"]


def test_a_prompt_for_which_there_is_no_memory_fails_alone(
    tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, merged(tree, {"learn": {"enabled": False}})) as live:
        failing(monkeypatch, NO_MEMORY, 2)
        failed = live.chat()
        assert failed.status_code == 500 and "no memory" in failed.json()["error"]["message"]
        assert live.chat().status_code == 200


def test_a_lost_device_ends_the_daemon(tmp_path: Path, tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with inside(tmp_path, merged(tree, {"learn": {"enabled": False}})) as live:
        failing(monkeypatch, "CUDA error: an illegal memory access was encountered", 1)
        assert "device is lost" in live.chat().json()["error"]["message"]
        assert live.engine is not None and "illegal memory access" in str(live.engine.failure)
        assert live.client.get("/readyz").status_code == 503
    assert not lost(RuntimeError(NO_MEMORY)) and not lost(ValueError("CUDA error"))
