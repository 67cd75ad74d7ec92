"""A disk made anew from the journal of what was done to it (`disk.c`), as it may be after power was lost at any moment.

What was written to a file is safe once that file was synced, and with it the name that the file had then; renames and
removals are safe once the folder was synced. Of the rest nothing may be there, or all, or some of it, torn at sectors.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

SECTOR = 512
Left = Literal["all", "synced", "some"]


@dataclass(frozen=True)
class Entry:
    """One call. kind: write | cut | sync | rename | unlink | note."""

    kind: str
    path: str
    other: str
    at: int
    data: bytes


def entries(journal: Path) -> Iterator[Entry]:
    """The calls in the order in which they were made."""
    with journal.open("rb") as file:
        while line := file.readline():
            kind, path, other, at, size = line.decode().rstrip("\n").split("\t")
            yield Entry(kind, path, other, int(at), file.read(int(size)))


@dataclass
class File:
    """safe: what a sync has returned for; loose: what was done since."""

    safe: bytes = b""
    loose: list[Entry] = field(default_factory=list)

    def content(self, left: Left, rng: random.Random) -> bytes:
        data = bytearray(self.safe)
        for entry in self.loose if left != "synced" else ():
            if entry.kind == "cut":
                if left == "all" or rng.random() < 0.5:
                    data[entry.at :] = bytes(max(0, entry.at - len(data)))
                continue
            for start in range(0, len(entry.data), SECTOR):
                if left == "all" or rng.random() < 0.5:
                    part, at = entry.data[start : start + SECTOR], entry.at + start
                    data.extend(bytes(max(0, at + len(part) - len(data))))
                    data[at : at + len(part)] = part
        return bytes(data)


@dataclass
class Disk:
    """names: as the process sees them; safe: those that are on the disk; moves: what was done to names since."""

    names: dict[str, File] = field(default_factory=dict)
    safe: dict[str, File] = field(default_factory=dict)
    moves: list[Entry] = field(default_factory=list)

    def do(self, entry: Entry) -> None:
        """Another call."""
        if entry.kind in ("write", "cut"):
            self.names.setdefault(entry.path, File()).loose.append(entry)
        elif entry.kind == "sync" and entry.path in (".", "blobs"):
            moved = [move for move in self.moves if _folder(move.path) == entry.path]
            self._move(self.safe, moved)
            self.moves = [move for move in self.moves if move not in moved]
        elif entry.kind == "sync":
            file = self.names.setdefault(entry.path, File())
            file.safe, file.loose = file.content("all", random.Random()), []
            self.safe[entry.path] = file
        elif entry.kind in ("rename", "unlink"):
            self._move(self.names, [entry])
            self.moves.append(entry)

    def write(self, folder: Path, left: Left, rng: random.Random) -> None:
        """What is found when the power is back."""
        names = dict(self.names if left == "all" else self.safe)
        if left == "some":
            self._move(names, self.moves[: rng.randint(0, len(self.moves))])
            names = {**{n: f for n, f in self.names.items() if n not in names and rng.random() < 0.5}, **names}
        (folder / "blobs").mkdir(parents=True)
        for name, file in names.items():
            (folder / name).write_bytes(file.content(left, rng))

    def _move(self, names: dict[str, File], moves: list[Entry]) -> None:
        for move in moves:
            file = names.pop(move.path, None)
            if move.kind == "rename" and file is not None:
                names[move.other] = file


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
