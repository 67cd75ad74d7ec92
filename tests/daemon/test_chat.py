"""`edge-es chat` with a real daemon: in a pipe as a script does it, and on a pseudo-terminal with single keys."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_es.errors import EdgeError
from service.cli.keys import edited
from service.daemon import write_note
from tests.daemon.live import PATIENCE, Live, inside


@pytest.fixture(scope="module")
def live(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    never = {**tree, "learn": {**tree["learn"], "min_events": 1000}}
    with inside(tmp_path_factory.mktemp("chat") / "state", never) as made:
        write_note(made.folder, made.url)
        yield made


def command(live: Live, *more: str) -> list[str]:
    where = ["--state-dir", str(live.folder), "--max-tokens", "6", "--temperature", "0"]
    return [sys.executable, "-m", "service.cli.main", "chat", *where, *more]


def piped(live: Live, text: str, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(live, *more), input=text, capture_output=True, text=True, timeout=PATIENCE)


def feedback(live: Live) -> list[dict[str, Any]]:
    return [row["feedback"] for row in live.get("/v1/feedback")["feedback"]]


def test_in_a_pipe_every_line_is_a_message_or_a_command(live: Live) -> None:
    known = len(feedback(live))
    done = piped(live, "hello\n/good\nhow are you\n/edit I am well\n/quit\nnever asked\n")
    assert done.returncode == 0, done.stderr
    said = live.chat("hello", 6).json()["choices"][0]["message"]["content"]
    assert done.stdout.startswith(f"{said}\n[version 0]\n(good)\n"), done.stdout
    assert done.stdout.endswith("[version 0]\n(corrected)\n")
    thumbs, better = feedback(live)[known:]
    assert (thumbs["metric_name"], thumbs["value"]) == ("thumbs", True)
    assert (better["metric_name"], better["value"]) == ("demonstration", "I am well")
    assert better["tags"] == {"source": "edge-es chat"}


def test_json_lines_for_scripts_and_a_talk_that_goes_on_with_the_correction(live: Live) -> None:
    done = piped(live, "one\n/edit uno\ntwo\n/bad\n/new\none\n", "--json", "--system", "Be brief.")
    assert done.returncode == 0, done.stderr
    first, edit, second, bad, again = map(json.loads, done.stdout.splitlines())
    assert list(first) == ["id", "version", "question", "answer"] and first["version"] == 0
    assert edit["inference_id"] == first["id"] and bad["inference_id"] == second["id"] and bad["value"] is False
    messages = [("system", "Be brief."), ("user", "one"), ("assistant", "uno"), ("user", "two")]
    body = {"model": live.get("/v1/models")["data"][0]["id"], "max_tokens": 6, "temperature": 0}
    asked = {**body, "messages": [{"role": role, "content": content} for role, content in messages]}
    answer = live.post("/v1/chat/completions", asked)["choices"][0]["message"]["content"]
    assert second["answer"] == answer
    assert again["answer"] == first["answer"] and again["id"] != first["id"]


def test_what_cannot_be_done_is_one_line_and_the_rest_goes_on(live: Live) -> None:
    done = piped(live, "/good\n/edit\n/dance\n//slash\n" + "x" * 5000 + "\nhello\n")
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert len(errors) == 4 and all(line.startswith("error: ") for line in errors), done.stderr
    assert (
        "no answer yet" in errors[0] and "/edit needs" in errors[1] and "/dance" in errors[2] and "context" in errors[3]
    )
    assert done.stdout.count("[version 0]") == 2


def test_without_a_daemon_it_says_so(tmp_path: Path, live: Live) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "chat", "--url", "http://127.0.0.1:9", "--state-dir", str(tmp_path)],
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1 and "edge-es serve" in done.stderr and "Traceback" not in done.stderr


class Terminal:
    """The command on a pseudo-terminal."""

    def __init__(self, arguments: list[str]) -> None:
        self.handle, other = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            arguments, stdin=other, stdout=other, stderr=other, close_fds=True, env=environment, start_new_session=True
        )
        os.close(other)
        self.shown = ""

    def until(self, text: str) -> str:
        """What was shown up to and with `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.handle], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self.handle, 4096).decode(errors="replace")
                except OSError:
                    assert text in self.shown, self.shown
        found, _, self.shown = self.shown.partition(text)
        return found + text

    def keys(self, text: str) -> None:
        os.write(self.handle, text.encode())


def test_on_a_terminal_a_key_rates_and_another_corrects(live: Live) -> None:
    known = len(feedback(live))
    terminal = Terminal(command(live))
    try:
        terminal.until("> ")
        terminal.keys("hello\n")
        terminal.until("[version 0]")
        terminal.until("go on")
        terminal.keys("+")
        terminal.until("(good)")
        terminal.keys("-")
        terminal.until("(bad)")
        terminal.keys("e")
        terminal.until("better: ")
        terminal.keys("\x15a better one\n")  # Ctrl-U empties the line
        terminal.until("(corrected)")
        terminal.keys("and on\n")  # the first letter begins the next message
        terminal.until("and on")
        terminal.until("[version 0]")
        terminal.until("go on")
        terminal.keys("\x04")
        assert terminal.process.wait(PATIENCE) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.handle)
    values = [(row["metric_name"], row["value"]) for row in feedback(live)[known:]]
    assert values == [("thumbs", True), ("thumbs", False), ("demonstration", "a better one")]


def test_ctrl_d_counts_before_a_key_is_waited_for() -> None:
    """It comes while an answer is still written, and was lost: the talk did not end."""
    code = "import time; from service.cli.keys import read_key; print('ready', flush=True); time.sleep(1)\n"
    terminal = Terminal([sys.executable, "-c", code + "print('key', ord(read_key()))"])
    try:
        terminal.until("ready")
        terminal.keys("\x04")
        terminal.until("key 4")
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.handle)


def test_an_answer_of_several_lines_goes_to_the_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!{sys.executable}\nimport sys; open(sys.argv[1], 'a').write('more')\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    assert edited("one\ntwo\n") == "one\ntwo\nmore"
    monkeypatch.setenv("VISUAL", str(tmp_path / "absent"))
    with pytest.raises(EdgeError, match=r"\$EDITOR"):
        edited("one")
