"""Large values as files named by their SHA-256, durable before anything refers to them."""

import hashlib
import os
from pathlib import Path

from edge_es.errors import StateError


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
    partial = folder / f"{name}.partial"
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
