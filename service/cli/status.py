"""`edge-es status`: what is served, what was learned from, what is still known."""

from typing import Any

from service.cli.options import AsJson, StateDir, Url, number, print_table, show


def size(count: int | None) -> str:
    """Bytes for people."""
    return "-" if count is None else f"{count / 2**20:.1f} MiB"


def render(row: dict[str, Any], where: str) -> None:
    """The status for people."""
    events, memory = row["events"], row["memory"]
    reason = f" ({row['reason']})" if row["reason"] else ""
    print_table(
        ("", ""),
        [
            ("daemon", where),
            ("version", row["version"]),
            ("model", f"{row['model']}, {row['quantization']}, {row['device'] or 'device not known'}"),
            ("learning", f"{row['learning']}{reason}"),
            ("events", ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in events.items())),
            (
                "memory",
                ", ".join(
                    f"{name.removesuffix('_bytes')} {size(count)}"
                    for name, count in memory.items()
                    if name.endswith("_bytes")
                ),
            ),
            ("batches halved", "-" if memory["batches_halved"] is None else memory["batches_halved"]),
        ],
    )
    if row["retention"]:
        print_table(
            ("suite", ">score", ">anchor", ">retention", "verdict"),
            [
                (name, number(r["score"]), number(r["anchor"]), number(r["retention"]), r["verdict"])
                for name, r in row["retention"].items()
            ],
        )


def status(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """Show the served version, learning, memory and retention; the daemon may run or not."""
    from service.cli.address import Daemon
    from service.cli.reading import status as read
    from service.cli.target import find

    target = find(state_dir, url)
    row = read(target)
    where = target.url if isinstance(target, Daemon) else f"stopped, {target.path}"
    show(row, as_json, lambda: render(row, where))
