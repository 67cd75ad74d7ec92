"""`edge-es versions | diff | rollback | verify`: the ledger, read and acted on."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_es.errors import StateError
from service.cli.options import AsJson, StateDir, Url, number, print_table, show

if TYPE_CHECKING:
    from service.cli.target import Folder


def versions(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """List every attempt, oldest first, rejected ones too."""
    from service.cli.reading import versions as read
    from service.cli.target import find

    rows = read(find(state_dir, url))

    def render() -> None:
        columns = (
            "#",
            ">version",
            "kind",
            "state",
            ">events",
            ">fitness",
            ">reliab.",
            ">step",
            ">delta",
            ">walk",
            "reason",
        )
        keys = ("fitness_mean", "fitness_reliability", "step_norm", "delta_norm", "walk_ratio")
        print_table(
            columns,
            [
                (
                    *(r["attempt"], r["version"], r["kind"], r["state"], len(r["events"])),
                    *(number(r[key]) for key in keys),
                    r["reason"] or "",
                )
                for r in rows
            ],
        )

    show(rows, as_json, render)


def compare(rows: list[dict[str, Any]], probes: list[dict[str, Any]], first: int, second: int) -> dict[str, Any]:
    """What lies between two versions, from the listings alone.

    {a, b, same, versions: after the earlier one up to the later, events: that those versions used,
    delta_norm: {a, b}, retention: [{suite, kind, a, b}] for suites probed at both}. Raises StateError for a
    version that does not exist.
    """
    by_version = {row["version"]: row for row in rows if row["version"] is not None}
    for version in (first, second):
        if version not in by_version:
            raise StateError(f"version {version} does not exist; `edge-es versions` lists what does")
    low, high = sorted((first, second))
    between = [version for version in sorted(by_version) if low < version <= high]
    events = dict.fromkeys(event for version in between for event in by_version[version]["events"])
    latest = {(p["version"], p["suite"], p["kind"]): p["retention"] for p in probes}
    suites = dict.fromkeys((p["suite"], p["kind"]) for p in probes)
    return {
        "a": first,
        "b": second,
        "same": by_version[first]["sha256"] == by_version[second]["sha256"],
        "versions": between,
        "events": list(events),
        "delta_norm": {"a": by_version[first]["delta_norm"], "b": by_version[second]["delta_norm"]},
        "retention": [
            {"suite": suite, "kind": kind, "a": latest[first, suite, kind], "b": latest[second, suite, kind]}
            for suite, kind in suites
            if (first, suite, kind) in latest and (second, suite, kind) in latest
        ],
    }


def diff(
    a: Annotated[int, typer.Argument(min=0, help="A version.")],
    b: Annotated[int, typer.Argument(min=0, help="Another version.")],
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: steps and events between them, norms, and retention where both were probed."""
    from service.cli.reading import retention
    from service.cli.reading import versions as read
    from service.cli.target import find

    target = find(state_dir, url)
    found = compare(read(target), retention(target), a, b)

    def render() -> None:
        print_table(
            ("", f">version {a}", f">version {b}"),
            [
                ("norm of delta", number(found["delta_norm"]["a"]), number(found["delta_norm"]["b"])),
                *((f"{r['suite']} ({r['kind']})", number(r["a"]), number(r["b"])) for r in found["retention"]),
            ],
        )
        same = "the same delta" if found["same"] else "different deltas"
        typer.echo(f"{same}; {len(found['versions'])} versions and {len(found['events'])} events between them")

    show(found, as_json, render)


def _rollback_folder(folder: "Folder", version: int, reason: str) -> int:
    from edge_es import ledger
    from service.store import Store

    store = Store(folder.path)
    try:
        row = ledger.rollback_row(store, version, reason)
        ledger.rebuild(store, version)  # what does not replay must not become the version to go on from
        store.append(row, {})
    finally:
        store.close()
    assert row.version is not None
    return row.version


def rollback(
    version: Annotated[int, typer.Argument(min=0, help="The version whose delta is served again; 0 is the anchor.")],
    reason: Annotated[str, typer.Option("--reason", help="Kept in the ledger.")] = "asked for by hand",
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a version: a new version with its delta; history stays as it is."""
    from service.cli.address import Daemon
    from service.cli.target import find

    target = find(state_dir, url)
    if isinstance(target, Daemon):
        from service.cli.client import post

        new = int(post(target, "/v1/rollback", {"version": version, "reason": reason})["version"])
    else:
        new = _rollback_folder(target, version, reason)
    show(
        {"version": new, "target": version},
        as_json,
        lambda: typer.echo(f"version {new} is version {version} again"),
    )


def _verify_folder(folder: "Folder") -> dict[str, Any]:
    """Replays the ledger; loads and hashes the base, to compare it with the one the folder is bound to."""
    from edge_es import ledger
    from edge_es.config import load
    from edge_es.model import base_hash, load_base
    from service.cli.reading import opened

    with opened(folder) as store:
        found: dict[str, Any] = dict(ledger.verify(store))
        bound = store.model_binding()
    if bound is None:
        raise StateError(f"state folder {folder.path} was never used; start the daemon on it once")
    section = load(None, {"model": {"ref": bound.ref, "quantization": bound.quantization}}).model
    found["base_sha256"] = base_hash(load_base(section))
    whole = found["mismatches"] == 0 and found["replayed"] + found["compacted"] == found["versions"]
    found["ok"] = whole and found["base_sha256"] == bound.sha256
    return found


def verify(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Rebuild every version from the ledger, bit for bit, and hash the base; exit 1 on any difference."""
    from service.cli.address import Daemon
    from service.cli.target import find

    target = find(state_dir, url)
    if isinstance(target, Daemon):
        from service.cli.client import get

        found: dict[str, Any] = get(target, "/v1/verify")
    else:
        found = _verify_folder(target)

    def render() -> None:
        typer.echo(f"{found['replayed']} of {found['versions']} versions replayed, {found['mismatches']} mismatches")
        if found["compacted"]:
            typer.echo(
                f"{found['compacted']} older ones were compacted; all from version {found['since']} on were replayed"
            )
        typer.echo(f"base {found['base_sha256']}: {'fine' if found['ok'] else 'NOT fine'}")

    show(found, as_json, render)
    if not found["ok"]:
        raise typer.Exit(1)
