"""What a terminal can do: one key, a line that begins with a text already, the user's own editor."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from edge_es.errors import EdgeError


def read_key() -> str:
    """The next key pressed, without Enter; Ctrl-C raises KeyboardInterrupt, Ctrl-D is '\\x04'. POSIX terminals."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle, termios.TCSADRAIN)  # not flushed: a key may have come before it was waited for
        # Byte by byte, past Python's buffer: what was typed ahead stays for the line that is read next.
        found = os.read(handle, 1)
        if found == b"\x00":  # how Linux hands over a Ctrl-D that came while lines were still edited
            return "\x04"
        while found and len(found) < 4:
            try:
                return found.decode()
            except UnicodeDecodeError:
                found += os.read(handle, 1)
        return "\x04" if not found else ""
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def read_line(prompt: str, begun: str = "") -> str:
    """A line that the user may edit, `begun` standing in it already. Raises EOFError at Ctrl-D."""
    import readline

    readline.set_startup_hook(lambda: readline.insert_text(begun))
    try:
        return input(prompt)
    finally:
        readline.set_startup_hook(None)


def edited(text: str) -> str:
    """The text as it comes out of $VISUAL or $EDITOR. Raises EdgeError where there is no editor, or it fails."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.txt"
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise EdgeError(f"editor '{editor}' cannot be used ({error}); name another by $EDITOR") from None
        return path.read_text(encoding="utf-8")
