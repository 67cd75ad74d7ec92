"""`edge-es chat`: talk with the running daemon, see which version answers, rate and correct what it says.

On a terminal a single key rates; in a pipe every line is a message or a command, so that scripts can talk, too.
"""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_es.errors import EdgeError
from service.cli.options import AsJson, StateDir, Url

if TYPE_CHECKING:
    from service.cli.talk import Talk

HELP = """\
/good, /bad     rate the last answer (on a terminal: the keys + and -)
/edit [TEXT]    what it should have said (key e); it is learned from, and the talk goes on with it
/new            begin anew
/quit           end (Ctrl-D)
//...           a message that begins with /"""
KEYS = "+ good   - bad   e edit   Enter or a message: go on"


class Screen:
    """Where a talk is shown. as_json: a JSON object a line, for scripts; keys: what may be pressed is told."""

    def __init__(self, as_json: bool, keys: bool) -> None:
        from rich.console import Console

        self.as_json, self.keys = as_json, keys
        self._console = Console(highlight=False, markup=False, emoji=False)

    def piece(self, text: str) -> None:
        """Some of an answer."""
        if not self.as_json:
            self._console.print(text, end="", soft_wrap=True)
            sys.stdout.flush()

    def answered(self, talk: "Talk") -> None:
        """The end of an answer, with the version that gave it."""
        assert talk.last is not None
        if self.as_json:
            row = {"id": talk.last.id, "version": talk.last.version}
            self.row({**row, "question": talk.last.question, "answer": talk.last.text})
            return
        keys = f"   {KEYS}" if self.keys else ""
        self._console.print(f"\n[version {talk.last.version}]{keys}", style="dim", soft_wrap=True)

    def sent(self, row: dict[str, Any]) -> None:
        """Feedback that was taken."""
        what = "corrected" if row["metric_name"] == "demonstration" else "good" if row["value"] else "bad"
        self.note(what, row)

    def note(self, text: str, row: dict[str, Any] | None = None) -> None:
        """A word of this command itself."""
        if self.as_json and row is not None:
            self.row(row)
        elif not self.as_json:
            self._console.print(f"({text})", style="dim", soft_wrap=True)

    def row(self, row: dict[str, Any]) -> None:
        """A JSON line."""
        typer.echo(json.dumps(row, ensure_ascii=False))


def say(talk: "Talk", line: str, screen: Screen) -> bool:
    """One line of the user: a message or a command. False where it ends the talk. Raises EdgeError."""
    command, _, rest = line.strip().partition(" ")
    if not command:
        return True
    if command == "/quit":
        return False
    if command in ("/good", "/bad"):
        screen.sent(talk.rate(command == "/good"))
    elif command == "/edit":
        if not rest.strip():
            raise EdgeError("/edit needs the better answer behind it")
        screen.sent(talk.correct(rest.strip()))
    elif command == "/new":
        talk.renew()
        screen.note("a new talk")
    elif command == "/help":
        typer.echo(HELP)
    elif command.startswith("/") and not command.startswith("//"):
        raise EdgeError(f"there is no command {command}; /help lists them, and // begins a message with /")
    else:
        try:
            for piece in talk.ask(line.strip().removeprefix("/") if line.startswith("//") else line.strip()):
                screen.piece(piece)
        except KeyboardInterrupt:  # the rest of this answer is not wanted
            if talk.last is None:
                return True
        screen.answered(talk)
    return True


def _rated(talk: "Talk", screen: Screen) -> str:
    """Keys after an answer, until one begins the next message: what it begins with. Raises EOFError at Ctrl-D."""
    from service.cli.keys import read_key

    while True:
        key = read_key()
        try:
            if key and key in "+-":
                screen.sent(talk.rate(key == "+"))
            elif key == "e":
                if better := _edited(talk):
                    screen.sent(talk.correct(better))
            elif key == "\x04":
                raise EOFError
            else:
                return key if key.isprintable() else ""
        except EdgeError as error:
            typer.echo(f"error: {error}", err=True)


def _edited(talk: "Talk") -> str:
    """The last answer as the user would have it; empty where it stays. Of several lines: in the user's editor."""
    from service.cli.keys import edited, read_line

    assert talk.last is not None
    before = talk.last.text
    found = edited(before) if "\n" in before else read_line("better: ", before)
    return found.strip() if found.strip() != before.strip() else ""


def _interactive(talk: "Talk", screen: Screen) -> None:
    from service.cli.keys import read_line

    begun = ""
    while True:
        try:
            answered, line = talk.last, read_line("> ", begun)
            begun = ""
            if not say(talk, line, screen):
                return
            if talk.last is not None and talk.last is not answered:
                begun = _rated(talk, screen)
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        except EdgeError as error:
            typer.echo(f"error: {error}", err=True)


def _piped(talk: "Talk", screen: Screen) -> bool:
    """Whether every line was taken."""
    fine = True
    for line in sys.stdin:
        try:
            if not say(talk, line, screen):
                break
        except EdgeError as error:
            typer.echo(f"error: {error}", err=True)
            fine = False
    return fine


def chat(
    system: Annotated[str | None, typer.Option("--system", help="What the model is told first.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, max=2, help="0: always the likeliest.")
    ] = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Talk with the running daemon; rate an answer with + or -, correct it with e. In a pipe, a line is a message."""
    from service.cli.client import connect, request
    from service.cli.talk import Talk
    from service.cli.target import running

    target = running(state_dir, url)
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    with connect(target) as client:
        model = request(client, "GET", "/v1/models")["data"][0]["id"]
        talk = Talk(client, model, system, max_tokens, temperature)
        screen = Screen(as_json, keys=interactive)
        if interactive:
            typer.echo(f"{model} at {target.url}; /help lists commands, Ctrl-D ends")
            _interactive(talk, screen)
        elif not _piped(talk, screen):
            raise typer.Exit(1)
