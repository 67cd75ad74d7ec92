"""`edge-es export | import`: what was learned goes out, what was learned elsewhere comes in; daemon running or not.

A running daemon writes into its state folder's `exports/` and reads from `imports/` alone; this command moves things
between those and the folder that was named, where it can reach them.
"""

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_es.errors import StateError
from service.cli.files import writing
from service.cli.options import AsJson, StateDir, Url, number, show
from service.cli.status import size

if TYPE_CHECKING:
    from edge_es.model import Base
    from service.cli.address import Daemon
    from service.cli.target import Folder
    from service.exporting import ExportKind, ImportKind
    from service.store import Store

Target = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must not exist, or be empty.")]
VersionOption = Annotated[
    int | None, typer.Option("--version", min=0, help="A version; default: the one that is served.")
]
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "edge-es.json")  # all that an import reads

exports = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write what was learned, for others.")
imports = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Go on from what was learned elsewhere.")


def bound_base(store: "Store") -> "Base":
    """The base that a stopped folder belongs to, loaded. Raises StateError where another one is found."""
    from edge_es.config import load
    from edge_es.model import load_base

    bound = store.model_binding()
    if bound is None:
        raise StateError(f"state folder {store.folder} was never used; start the daemon on it once")
    section = load(None, {"model": {"ref": bound.ref, "quantization": bound.quantization}}).model
    base = load_base(section)
    if base.sha256 != bound.sha256:
        raise StateError(
            f"{bound.ref} ({bound.quantization}) is not the base that {store.folder} belongs to any more; name its "
            "revision by EDGE_ES_MODEL__REVISION, or start the daemon and try again"
        )
    return base


def _export_folder(folder: "Folder", body: dict[str, Any], target: Path) -> dict[str, Any]:
    from service import exporting
    from service.cli.reading import opened

    with opened(folder) as store:
        wanted = exporting.Wanted(**body)
        return exporting.export(lambda: bound_base(store), store, wanted, lambda version: target)


def _export_daemon(daemon: "Daemon", body: dict[str, Any], target: Path) -> dict[str, Any]:
    from service.cli.client import post

    given = {key: value for key, value in body.items() if value is not None}
    made: dict[str, Any] = post(daemon, "/v1/export", {**given, "name": f"cli-{uuid.uuid4().hex}"})
    if _reaches(Path(made["path"])):
        _move(Path(made["path"]), target)
        return {**made, "path": str(target)}
    return {**made, "notes": [*made["notes"], "it lies on the daemon's machine, where this command cannot reach it"]}


def _reaches(path: Path) -> bool:
    try:
        return (path / "edge-es.json").is_file()
    except PermissionError:
        return False


def _move(source: Path, target: Path) -> None:
    """To its place; over the bounds of a file system by way of a copy that is whole before it is there."""
    from edge_es.export.folder import placed, require_free

    require_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise StateError(f"{source} cannot be moved to {target}: {error.strerror}; it stays there") from None
    with writing(target), placed(target) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
    shutil.rmtree(source, ignore_errors=True)  # the daemon's folder may be another user's


def _export(
    kind: "ExportKind",
    target: Path,
    version: int | None,
    state_dir: Path | None,
    url: str | None,
    as_json: bool,
    **more: Any,
) -> None:
    from edge_es.export.folder import require_free
    from service.cli.address import Daemon
    from service.cli.target import find

    target = Path(os.path.abspath(target.expanduser()))
    require_free(target)
    at, body = find(state_dir, url), {"kind": kind, "version": version, **more}
    made = _export_daemon(at, body, target) if isinstance(at, Daemon) else _export_folder(at, body, target)

    def render() -> None:
        typer.echo(f"version {made['version']} as {kind}: {made['path']} ({size(made['bytes'])})")
        for note in made["notes"]:
            typer.echo(f"note: {note}")

    show(made, as_json, render)


@exports.command("peft")
def peft(
    target: Target,
    version: VersionOption = None,
    rank: Annotated[
        int | None,
        typer.Option("--rank", help="8, 16, 32, ...; default: the smallest that holds the delta exactly."),
    ] = None,
    base_name: Annotated[
        str | None, typer.Option("--base-name", help="What stands in it as the base's name, such as a hub id.")
    ] = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """A LoRA adapter that peft, vLLM and llama.cpp's converter read."""
    _export("peft", target, version, state_dir, url, as_json, rank=rank, base_name=base_name)


@exports.command("merged")
def merged(
    target: Target,
    version: VersionOption = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """A whole model in bf16, the delta added, that transformers loads."""
    _export("merged", target, version, state_dir, url, as_json)


@exports.command("delta")
def delta(
    target: Target,
    version: VersionOption = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """The delta with its proof: the ledger's rows from which it can be rebuilt; `edge-es import delta` reads it."""
    _export("delta", target, version, state_dir, url, as_json)


def _import_folder(folder: "Folder", kind: "ImportKind", source: Path, any_base: bool) -> dict[str, Any]:
    from edge_es.adoption import adopt
    from service import exporting
    from service.store import Store

    with Store(folder.path) as store:
        found = exporting.read_import(bound_base(store), kind, source, any_base)
        return {"kind": kind, **exporting.adopted(adopt(store, found.delta, found.reason, found.stats))}


def _lay(kind: "ImportKind", source: Path, place: Path) -> None:
    """Copies what an import reads. Raises OSError."""
    if kind == "delta":
        shutil.copytree(source, place)
        return
    place.mkdir(parents=True)
    for path in (source / name for name in ADAPTER_FILES):
        if path.is_file():
            shutil.copyfile(path, place / path.name)


def _import_daemon(daemon: "Daemon", state: Path, kind: "ImportKind", source: Path, any_base: bool) -> dict[str, Any]:
    from service.cli.client import ApiError, post
    from service.cli.target import live_url

    if live_url(state) != daemon.url:
        raise StateError(
            f"the state folder of the daemon at {daemon.url} is not known here; name it by --state-dir, or copy "
            f"{source} into its imports/ and send its name to POST /v1/import"
        )
    name = f"cli-{uuid.uuid4().hex}"
    place = state / "imports" / name
    try:
        with writing(place):
            _lay(kind, source, place)
        body = {"kind": kind, "name": name, "any_base": any_base}
        made: dict[str, Any] = post(daemon, "/v1/import", body)
        return made
    except ApiError as error:  # it knows the copy alone
        raise StateError(str(error).replace(str(place), str(source))) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _import(
    kind: "ImportKind", source: Path, any_base: bool, state_dir: Path | None, url: str | None, as_json: bool
) -> None:
    from service.cli.address import Daemon
    from service.cli.target import find, state_folder

    at = find(state_dir, url)
    if isinstance(at, Daemon):
        made = _import_daemon(at, state_folder(state_dir), kind, source, any_base)
    else:
        made = _import_folder(at, kind, source, any_base)

    def render() -> None:
        typer.echo(
            f"version {made['version']} is what was imported: rank {made['rank']}, norm {number(made['delta_norm'])}"
        )
        typer.echo("`edge-es rollback 0` goes back to the model as first loaded")

    show(made, as_json, render)


Source = Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="Folder to read.")]


@imports.command("peft")
def import_peft(
    source: Source,
    any_base: Annotated[bool, typer.Option("--any-base", help="Whatever base the adapter names.")] = False,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """A PEFT LoRA adapter as what learning goes on from; only where nothing was learned yet."""
    _import("peft", source, any_base, state_dir, url, as_json)


@imports.command("delta")
def import_delta(source: Source, state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """An export of kind 'delta', re-verified, as what learning goes on from; only where nothing was learned yet."""
    _import("delta", source, False, state_dir, url, as_json)
