"""Large values as files named by their SHA-256, durable before anything refers to them."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from edge_es.errors import StateError

PARTIAL = ".partial"


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256: a blob's name."""
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(folder: Path, name: str, data: bytes) -> None:
    """Durable when it returns: write, fsync, rename, fsync the folder. A reader sees the whole blob or none.

    Raises StateError where `name` is not the data's hash, OSError where the disk refuses.
    """
    if sha256(data) != name:
        raise StateError(f"blob {name}: the data hashes to {sha256(data)}")
    target = folder / name
    if target.exists() and sha256(target.read_bytes()) == name:
        return
    partial = folder / f"{name}{PARTIAL}"
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def read(folder: Path, name: str) -> bytes:
    """The blob's bytes. Raises StateError that names it if it is absent or damaged."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise StateError(f"blob {name} is missing from {folder}; restore the folder from a backup") from None
    if sha256(data) != name:
        raise StateError(f"blob {name} in {folder} is damaged (it hashes to {sha256(data)}); restore it from a backup")
    return data


def remove(folder: Path, named: Collection[str]) -> list[str]:
    """Removes the blobs that are not `named`, and says which. What is not done when the power goes is done at the
    next start. Raises OSError."""
    gone = [path for path in folder.iterdir() if path.name not in named and not path.name.endswith(PARTIAL)]
    for path in gone:
        path.unlink(missing_ok=True)
    return [path.name for path in gone]


def remove_partial(folder: Path) -> list[str]:
    """Removes what a process left that ended while it wrote, and says what. Raises OSError."""
    gone = sorted(folder.glob(f"*{PARTIAL}"))
    for path in gone:
        path.unlink(missing_ok=True)
    return [path.name for path in gone]
