"""`edge-es feedback review | approve | reject`: what waits for a person's word before it is learned from."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from service.cli.address import Daemon
from service.cli.options import AsJson, StateDir, Url, print_json, print_table
from service.cli.target import Target, find, running

PAGE = 1000  # events a request
SHOWN = 60  # characters of a cell

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Events in review, by id.")]
All = Annotated[bool, typer.Option("--all", help="All that wait now.")]


def waiting(target: Target) -> list[dict[str, Any]]:
    """The events in review, oldest first, as `GET /v1/feedback` has them; of a stopped daemon from its folder."""
    return [row for page in _pages(target) for row in page]


def _pages(target: Target) -> Iterator[Sequence[dict[str, Any]]]:
    if not isinstance(target, Daemon):
        from service.cli.reading import opened

        with opened(target) as store:
            ids = store.in_review()
            yield [fate.as_json() for fate in store.list_events("review", limit=len(ids))]
        return
    from service.cli.client import get

    after: dict[str, str | int] = {}
    while page := get(target, "/v1/feedback", state="review", limit=PAGE, **after)["feedback"]:
        yield page
        after = {"after": page[-1]["id"]}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    body = row["feedback"]
    asked = body.get("input") or {}
    said = asked.get("prompt") or " / ".join(str(one["content"]) for one in asked.get("messages", []))
    said = said or body.get("inference_id") or body["episode_id"]
    taught = body.get("value", body.get("grader"))
    source = (body.get("tags") or {}).get("source")
    cells = (row["id"], row["received_at"], row["kind"], source or "-", said, str(taught))
    return tuple(cell if len(cell) <= SHOWN else cell[: SHOWN - 1] + "…" for cell in cells)


def review(state_dir: StateDir = None, url: Url = None, as_json: AsJson = False) -> None:
    """List what waits for a review, oldest first; the daemon may run or not."""
    rows = waiting(find(state_dir, url))
    if as_json:
        print_json({"feedback": rows})
    else:
        print_table(("id", "received", "kind", "source", "asked", "taught"), map(_cells, rows))


def approve(
    ids: Ids = None, every: All = False, state_dir: StateDir = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Let events in review be learned from; by id also those that were rejected. All that are named, or none."""
    _judge("approve", {}, ids, every, state_dir, url, as_json)


def reject(
    ids: Ids = None,
    every: All = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Kept with the events.")] = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Keep events in review from ever being learned from; they stay listed. All that are named, or none."""
    _judge("reject", {"reason": reason} if reason else {}, ids, every, state_dir, url, as_json)


def _judge(
    verdict: str, more: dict[str, str], ids: list[str] | None, every: bool, state_dir: Any, url: Any, as_json: bool
) -> None:
    if bool(ids) == every:
        raise typer.BadParameter(f"name the events to {verdict}, or give --all", param_hint="ID")
    from service.cli.client import post

    target = running(state_dir, url)
    answer = post(target, f"/v1/feedback/{verdict}", {**({"all": True} if every else {"ids": ids}), **more})
    if as_json:
        print_json(answer)
    else:
        (done,) = answer
        typer.echo(f"{len(answer[done])} {done}")
