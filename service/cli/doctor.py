"""`edge-es doctor`: is this machine ready? Writes nothing, loads no model, needs no network."""

import os
import platform
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from edge_es.errors import EdgeError
from service.cli.options import AsJson, ConfigFile, StateDir, print_json, print_table
from service.cli.target import live_url, read_json, state_folder

SQLITE_WAL_RESET = (
    3,
    51,
    3,
)  # older ones may lose a commit that races a checkpoint; edge-es keeps one writer
LEAST_SPACE, GOOD_SPACE = 100 * 2**20, 2**30  # bytes


@dataclass(frozen=True)
class Check:
    """One finding. `ok` None means: no fault, but worth knowing."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, platform.python_version(), "" if ok else "install Python 3.11 or 3.12")


def _package(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", "run `pip install .` in the project's folder again")


def _device(wanted: str) -> Check:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name(0)
        return Check("device", True, f"CUDA: {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    detail = f"CPU, {torch.get_num_threads()} threads; torch {torch.__version__} sees no CUDA device"
    if wanted == "cuda":
        return Check("device", False, detail, "set model.device to cpu, or install the driver and torch's CUDA build")
    return Check("device", None, detail)


def _cpu_repacking() -> Check:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Check("cpu", None, f"{platform.machine()}; flags unknown")
    if "avx512_bf16" in flags:
        return Check("cpu", None, "AVX512-BF16: bitsandbytes' repacking of 4-bit weights is kept off by edge-es")
    return Check("cpu", True, platform.machine())


def _kernels() -> Check:
    try:
        found = metadata.version("kernels")
    except metadata.PackageNotFoundError:
        return Check("kernels", True, "not installed (with it, bitsandbytes would reach for the network)")
    return Check("kernels", False, f"version {found} is installed", "pip uninstall kernels, or set HF_HUB_OFFLINE=1")


def _sqlite() -> Check:
    if sqlite3.sqlite_version_info >= SQLITE_WAL_RESET:
        return Check("sqlite", True, sqlite3.sqlite_version)
    return Check("sqlite", None, f"{sqlite3.sqlite_version}: older than 3.51.3; fine with the one writer edge-es uses")


def _model(ref: str) -> Check:
    if ref == "pocket":
        import edge_es

        weights = list((Path(edge_es.__file__).parent / "pocket").glob("**/*.safetensors"))
        if weights:
            return Check("model", True, f"pocket, {sum(w.stat().st_size for w in weights) / 2**20:.1f} MiB")
        return Check(
            "model",
            False,
            "pocket's weights are not installed",
            "run `pip install .` in the project's folder",
        )
    if ref.startswith("shape:"):
        from edge_es.shapes import named

        return Check(
            "model", None, f"{ref}: {named(ref).published / 1e9:.2f} billion random weights; answers are noise"
        )
    if Path(ref).is_dir():
        ok = any(Path(ref).glob("*.safetensors"))
        return Check("model", ok, ref, "" if ok else "the folder holds no safetensors; name another by model.ref")
    return Check("model", None, f"{ref}: taken from the Hugging Face cache, else downloaded at the first start")


def _state(folder: Path) -> Check:
    if folder.is_dir():
        ok = os.access(folder, os.W_OK | os.X_OK)
        return Check("state", ok, str(folder), "" if ok else "make it writable, or name another by --state-dir")
    parent = next((p for p in folder.absolute().parents if p.exists()), Path("/"))
    ok = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    remedy = "" if ok else f"{parent} is no folder you can write to; name another by --state-dir"
    return Check("state", ok, f"{folder} (made at the first start)", remedy)


def _space(folder: Path) -> Check:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 2**30:.1f} GiB free at {place}"
    if free < LEAST_SPACE:
        remedy = (
            "make room, or name another folder by --state-dir: on a full disk feedback is refused and learning pauses"
        )
        return Check("space", False, detail, remedy)
    return Check("space", True if free >= GOOD_SPACE else None, detail)


def _privacy(folder: Path) -> Check:
    """Who may change a file's folder may put another in its place, whatever the file's own mode."""
    if not folder.is_dir():
        return Check("privacy", None, "the state folder is made for its owner alone")
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0):
        return Check("privacy", False, f"{folder} belongs to user {found.st_uid}", f"chown it to user {os.getuid()}")
    if found.st_mode & 0o022:
        return Check(
            "privacy", False, f"others may write to {folder}: they could give it tokens", f"chmod 700 {folder}"
        )
    return Check("privacy", True if found.st_mode & 0o077 == 0 else None, f"folder mode {found.st_mode & 0o777:04o}")


def _tokens(folder: Path) -> Check:
    path = folder / "tokens.json"
    try:
        found = path.stat()
        tokens = read_json(path) if found.st_uid == os.getuid() or os.access(path, os.R_OK) else None
    except FileNotFoundError:
        return Check("tokens", None, "made at the first start")
    except OSError as error:
        return Check("tokens", False, f"{path}: {error.strerror}", "make the state folder readable")
    mode = found.st_mode & 0o777
    if mode & 0o077:
        remedy = f"chmod 600 {path}, then `edge-es token rotate`: others may have read them"
        return Check("tokens", False, f"mode {mode:04o}", remedy)
    if tokens is not None and not all(isinstance(tokens.get(name), str) for name in ("chat", "admin")):
        return Check("tokens", False, f"{path} holds no two tokens", "`edge-es token rotate` writes new ones")
    return Check("tokens", True, f"mode {mode:04o}")


def _exposure(host: str) -> Check:
    from edge_es.loopback import is_loopback

    if is_loopback(host):
        return Check("exposure", True, f"{host}: this machine alone")
    return Check("exposure", None, f"{host}: others can reach it, in clear text; chat needs a token, too")


def _port(host: str, port: int, folder: Path) -> Check:
    live = live_url(folder)
    if live:
        return Check("daemon", True, f"answers at {live}")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return Check("daemon", False, f"{host}:{port}: {error.strerror}", "stop what uses it, or give serve --port")
    return Check("daemon", None, f"not running; {host}:{port} is free")


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (EdgeError, ImportError, OSError, RuntimeError) as error:
        return Check(name, False, str(error).splitlines()[0] if str(error) else type(error).__name__)


def examine(config: Any, folder: Path) -> list[Check]:
    """All findings, in the order in which a start would meet them. `config` is an edge_es.config.Config."""
    return [
        _python(),
        *(_package(name) for name in ("torch", "transformers", "bitsandbytes", "fastapi")),
        _attempt("device", lambda: _device(config.model.device)),
        _cpu_repacking(),
        _kernels(),
        _sqlite(),
        _attempt("model", lambda: _model(config.model.ref)),
        _attempt("state", lambda: _state(folder)),
        _attempt("space", lambda: _space(folder)),
        _attempt("privacy", lambda: _privacy(folder)),
        _attempt("tokens", lambda: _tokens(folder)),
        _attempt("exposure", lambda: _exposure(config.serve.host)),
        _attempt("daemon", lambda: _port(config.serve.host, config.serve.port, folder)),
    ]


def doctor(config: ConfigFile = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Check this machine, its packages, the model and the state folder; exit 1 if something is amiss."""
    from edge_es.config import load

    loaded = load(config, {"state": {"dir": str(state_dir)}} if state_dir else None)
    folder = state_folder(Path(loaded.state.dir)) if loaded.state.dir else state_folder(None)
    checks = examine(loaded, folder)
    ok = all(check.ok is not False for check in checks)
    if as_json:
        print_json({"checks": [asdict(check) for check in checks], "ok": ok})
    else:
        mark = {True: "ok", None: "note", False: "FAIL"}
        print_table(("", "what", "found", "remedy"), [(mark[c.ok], c.name, c.detail, c.remedy) for c in checks])
    if not ok:
        raise typer.Exit(1)
