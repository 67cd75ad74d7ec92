"""`edge-es probe add`: a suite checked, shown as the anchor sees it, and put into the state folder."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_es.errors import EdgeError, StateError
from service.cli.files import writing
from service.cli.options import AsJson, ConfigFile, StateDir, number, print_table, show

if TYPE_CHECKING:
    from edge_es.probes.suites import Suite


def add(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|lm-eval:TASK", help="JSON Lines or CSV, whose name names the suite; or a task."),
    ],
    preview: Annotated[
        int, typer.Option("--preview", min=0, help="Items to show with the anchor's answers; 0: load no model.")
    ] = 5,
    limit: Annotated[int, typer.Option("--limit", min=1, help="lm-eval: most items, evenly from the task's.")] = 400,
    shots: Annotated[
        int | None, typer.Option("--shots", min=0, help="lm-eval: examples before an item; default: the task's own.")
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option("--tasks", exists=True, file_okay=False, help="lm-eval: folder of further task files (YAML)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it and put it nowhere.")] = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Check a suite, show what the anchor makes of it, and put it into the state folder.

    The daemon probes it from its next start on. The model for the preview is the configured one; beside a daemon that
    runs on a GPU none is loaded. docs/probes.md says what makes a good suite.
    """
    from service.cli.target import state_folder

    folder = state_folder(state_dir)
    if not folder.is_dir() and not dry_run:
        raise StateError(
            f"there is no state folder {folder}; `edge-es serve` makes one, or name another by --state-dir"
        )
    name, content = _content(source, limit, shots, tasks)
    place = folder / "probes" / f"{name}.jsonl"
    if place.exists() and place.read_bytes() != content and not dry_run:
        raise StateError(
            f"{place} holds another suite of that name; rename {source}, since old scores would not compare"
        )
    _require_own_name(name, source, place, config, folder)
    suite = _parsed(name, content, source)
    seen = _seen(suite, preview, config, folder) if preview else {}
    if not dry_run:
        with writing(place):
            place.parent.mkdir(exist_ok=True)
            _write(place, content)
    where = None if dry_run else str(place)
    row = {"suite": suite.name, "kind": suite.kind, "items": len(suite.items), "file": where, **seen}

    def render() -> None:
        if seen:
            _render(seen)
        typer.echo(
            f"{suite.name}: {len(suite.items)} items, kind {suite.kind}, {f'in {where}' if where else 'not added'}"
        )

    show(row, as_json, render)


def _require_own_name(name: str, source: str, place: Path, config: Path | None, folder: Path) -> None:
    """A daemon starts with no two suites of one name. Raises StateError."""
    from edge_es.config import load
    from service.probe_files import suite_paths

    settings = load(config)
    for path in suite_paths(settings.model.ref, settings, folder):
        if path.stem == name and path != place:
            raise StateError(f"there is a suite '{name}' already, {path}; rename {source}")


def _content(source: str, limit: int, shots: int | None, tasks: Path | None) -> tuple[str, bytes]:
    """(the suite's name, its lines)."""
    from edge_es.harness import PREFIX

    if not source.startswith(PREFIX):
        from service.probe_files import lines_of

        path = Path(source)
        if not path.is_file():
            raise typer.BadParameter(f"{source} does not exist", param_hint="FILE")
        return path.stem, lines_of(path)
    if find_spec("lm_eval") is None:
        raise EdgeError(f"{source} needs lm-evaluation-harness: pip install 'edge-es[lm-eval]'")
    from edge_es.harness.tasks import items, load_task, suite_name

    task = source.removeprefix(PREFIX)
    lines = items(load_task(task, tasks), task, limit, shots)
    return suite_name(task), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _parsed(name: str, content: bytes, source: str) -> "Suite":
    """The suite, by the rules that the daemon will read it by. Raises InputError that names the given file."""
    from edge_es.errors import InputError
    from edge_es.probes.suites import load_suite

    if source.endswith(f"{name}.jsonl"):
        return load_suite(Path(source))
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        made = Path(folder) / f"{name}.jsonl"
        made.write_bytes(content)
        try:
            return load_suite(made)
        except InputError as error:
            raise InputError(str(error).replace(str(made), f"{source}, as JSON Lines"), error.param) from None


def _seen(suite: "Suite", first: int, config: Path | None, folder: Path) -> dict[str, Any]:
    """{"anchor", "smallest_drop", "warnings", "preview"}; or why there is none."""
    from edge_es.config import load
    from service.cli.target import live_url

    settings = load(config)
    from edge_es.model import choose_device, load_base

    if choose_device(settings.model.device).type == "cuda" and live_url(folder):
        return {"skipped": "no preview: a daemon runs, and its card may not hold a second model"}
    import numpy as np

    from edge_es.probes.detectable import smallest_drop, warnings
    from edge_es.probes.preview import preview
    from edge_es.probes.verdicts import Limits
    from edge_es.slices import run

    base = load_base(settings.model)
    found = run(preview(base, suite, first))
    limits = Limits(settings.probes.tolerance, settings.probes.alpha)
    scores = np.asarray(found.scores.primary)
    binary = bool(np.isin(scores, (0.0, 1.0)).all()) and not found.scores.lower_is_better
    return {
        "model": settings.model.ref,
        "anchor": float(scores.mean()),
        "smallest_drop": smallest_drop(scores, limits).drop if binary else None,
        "warnings": warnings(suite.kind, found.scores.primary, limits),
        "preview": [
            {"asked": one.asked, "right": one.right, "answered": one.answered, "score": one.score}
            for one in found.shown
        ],
    }


def _render(seen: dict[str, Any]) -> None:
    if "skipped" in seen:
        typer.echo(seen["skipped"])
        return
    rows = [
        [_short(one["asked"]), _short(one["right"]), _short(one["answered"]), one["score"]] for one in seen["preview"]
    ]
    print_table(("asked", "right", "the anchor says", ">score"), [[*row[:3], number(row[3])] for row in rows])
    typer.echo(f"anchor ({seen['model']}): {seen['anchor']:.3f}")
    if seen["smallest_drop"] is not None:
        typer.echo(f"smallest drop that would be seen: {seen['smallest_drop']:.1%} of it")
    for warning in seen["warnings"]:
        typer.echo(f"warning: {warning}")


def _short(text: str | None, most: int = 48) -> str:
    if text is None:
        return "-"
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _write(place: Path, content: bytes) -> None:
    """Whole or not at all: a daemon that starts meanwhile must not read half a suite."""
    half = place.with_suffix(".tmp")
    with half.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    half.rename(place)
