"""A folder that is there whole or not at all, and what is said in it about where it comes from. Imports no torch."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_es.errors import StateError

NOTE = "edge-es.json"  # in every export: what it is and what it was made from


@dataclass(frozen=True)
class Origin:
    """What an export was made from. model: the base's reference; quantization: nf4, int8 or none; base_sha256: of its
    bytes (`model.base_hash`); delta_sha256: of the delta, as the ledger has it. version: None where no ledger numbers
    it."""

    model: str
    quantization: str
    base_sha256: str
    version: int | None
    delta_sha256: str

    def note(self, kind: str, **more: Any) -> dict[str, Any]:
        """The content of NOTE."""
        return {"edge_es": kind, "format": 1, **asdict(self), **more}


@dataclass(frozen=True)
class Written:
    """An export. kind: peft, merged or delta. path: its folder. files: their names in it, sorted; bytes: of them all.
    notes: what its reader should know, a line each."""

    kind: str
    path: Path
    files: tuple[str, ...]
    bytes: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "path": str(self.path), "files": list(self.files), "notes": list(self.notes)}


def require_free(target: Path) -> None:
    """Raises StateError where something is at `target` already; an empty folder is nothing."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise StateError(f"{target} exists and is no folder; name another")
    if target.is_dir() and any(target.iterdir()):
        raise StateError(f"{target} exists and is not empty; name another folder, or empty that one")


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, which becomes it when the block ends without an error: every file and the
    folders are fsynced before and after the rename. Raises StateError where `target` is taken or cannot be written."""
    target = Path(os.path.abspath(target.expanduser()))
    require_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise StateError(f"{target} cannot be written: {error.strerror}") from None
    try:
        partial.chmod(0o777 & ~_umask())  # mkdtemp's own is 0700
        yield partial
        for path in sorted(partial.rglob("*")):
            _sync(path)
        _sync(partial)
        try:
            os.rename(partial, target)  # over an empty folder, too; not over one that was filled meanwhile
        except OSError as error:
            raise StateError(f"{target} cannot be put in place: {error.strerror}; name another folder") from None
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def written(kind: str, target: Path, notes: tuple[str, ...] = ()) -> Written:
    """What lies at `target` now."""
    paths = sorted(path for path in target.rglob("*") if path.is_file())
    names = tuple(str(path.relative_to(target)) for path in paths)
    return Written(kind, target, names, sum(path.stat().st_size for path in paths), notes)


def write_json(path: Path, value: Any) -> None:
    """For people, too: indented, keys in the order that they have."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """safetensors, as transformers writes them. Raises OSError where the disk refuses, as other writers do."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def read_note(folder: Path) -> dict[str, Any] | None:
    """What an export of edge-es says of itself; None in a folder of other make. Raises StateError."""
    path = folder / NOTE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}; export it again") from None
    if not isinstance(found, dict):
        raise StateError(f"{path} holds no JSON object; export it again")
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
