"""`edge-es feedback send`: JSON Lines to the daemon, in groups, resumable.

A line is a body of `POST /v1/feedback`, or of `POST /v1/tasks` where it has a grader. A line without an id
gets one that follows from its content, so that a file sent twice, or after an interruption, is counted once.
"""

import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_es.errors import InputError
from service.cli import importing, review
from service.cli.options import AsJson, StateDir, Url, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Send feedback from files, and review it.")
for command in (review.review, review.approve, review.reject):
    app.command(command.__name__)(command)
app.command("import")(importing.import_file)

NAMESPACE = uuid.UUID("6f1c7c1e-6f0b-5d0e-9c55-3f2f6f8e2d11")  # any fixed one: ids must not change between releases
GROUP = 100  # lines a request: one durable commit for all of them
GROUP_BYTES = 2 * 2**20  # of a request; the daemon takes twice that
QUIET = 3  # looks in a row at an idle learner before --wait believes it


@dataclass(frozen=True)
class Line:
    """A body with its place in the file. `path` is the batch endpoint it goes to."""

    number: int
    path: str
    body: dict[str, Any]

    def encoded(self) -> bytes:
        """As it is sent."""
        return (json.dumps(self.body, ensure_ascii=False) + "\n").encode()


@dataclass
class Report:
    """What became of the lines. `rejected` has {"line", "message", "param"}."""

    lines: int = 0
    accepted: int = 0
    repeated: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The command's JSON."""
        return {
            "lines": self.lines,
            "accepted": self.accepted,
            "repeated": self.repeated,
            "rejected": self.rejected,
            "ok": not self.rejected,
        }


class _NotANumber(ValueError):
    """NaN or an infinity, which Python's parser would take."""


def _no_number(name: str) -> float:
    raise _NotANumber(name)


def read_lines(text: str, name: str) -> Iterator[Line]:
    """The bodies of a JSON Lines text, blank lines left out. Raises InputError naming the file and the line.

    The derived id is of the body's content and of how often that same body came before in the file:
    inserting or reordering lines changes no id, and two equal lines have two ids; the daemon keeps the later one as a
    duplicate.
    """
    seen: Counter[str] = Counter()
    for number, raw in enumerate(text.split("\n"), start=1):  # JSON strings may hold other line ends
        if not raw.strip():
            continue
        try:
            body = json.loads(raw, parse_constant=_no_number)
        except _NotANumber as error:
            raise InputError(f"{name}, line {number}: {error} is no JSON number") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{name}, line {number}: no JSON: {error.msg} at character {error.pos + 1}") from None
        if not isinstance(body, dict):
            raise InputError(
                f"{name}, line {number}: a line must be a JSON object, a body of /v1/feedback or /v1/tasks"
            )
        content = json.dumps(body, sort_keys=True, ensure_ascii=False)
        if body.get("id") is None:
            body = {**body, "id": str(uuid.uuid5(NAMESPACE, f"{content}\n{seen[content]}"))}
        seen[content] += 1
        yield Line(number, "/v1/tasks/batch" if "grader" in body else "/v1/feedback/batch", body)


def groups(lines: list[Line]) -> Iterator[list[Line]]:
    """Runs of lines for one endpoint, at most GROUP lines and GROUP_BYTES long (or one line), in the file's order."""
    group: list[Line] = []
    held = 0
    for line in lines:
        size = len(line.encoded())
        if group and (line.path != group[0].path or len(group) == GROUP or held + size > GROUP_BYTES):
            yield group
            group, held = [], 0
        group.append(line)
        held += size
    if group:
        yield group


def read_input(file: str) -> str:
    """The text of a file, or of standard input for '-'. Raises InputError."""
    try:
        if file == "-":
            return sys.stdin.read()
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; name a JSON Lines file, or - for standard input") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None


def take_in(report: Report, group: list[Line], answer: dict[str, Any]) -> None:
    """Adds the daemon's answer for a group to the report."""
    for result in answer["results"]:
        line = group[result["line"] - 1]
        if result.get("error"):
            error = result["error"]
            report.rejected.append({"line": line.number, "message": error["message"], "param": error.get("param")})
        else:
            report.ids.append(result["feedback_id"])
            if result.get("repeated"):
                report.repeated += 1
            else:
                report.accepted += 1


def await_idle(client: Any, every: float = 0.5) -> dict[str, Any]:
    """Waits until the learner is idle or paused for a few looks in a row. Returns the last status."""
    from service.cli.client import request

    quiet = 0
    while True:
        status: dict[str, Any] = request(client, "GET", "/v1/status")
        quiet = 0 if status["learning"] == "active" else quiet + 1
        if quiet >= QUIET:
            return status
        time.sleep(every)


def _progress(total: int) -> Any:
    """A bar on standard error where that is a terminal; nothing otherwise, so that logs stay readable."""
    if not sys.stderr.isatty():
        return nullcontext(None)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True))
    progress.add_task("sending", total=total)
    return progress


@app.command("send")
def send(
    file: Annotated[str, typer.Argument(help="JSON Lines file, or - for standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when the learner has used what it can.")] = False,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send feedback and tasks; the same file sent again counts nothing twice. Exit 1 if a line is refused."""
    lines = list(read_lines(read_input(file), "standard input" if file == "-" else file))
    report, status = deliver(lines, wait, state_dir, url)
    tell(report, status, file, as_json)


def deliver(
    lines: list[Line], wait: bool, state_dir: Path | None, url: str | None
) -> tuple[Report, dict[str, Any] | None]:
    """Sends the lines to the running daemon; what became of them, and with `wait` the status when it has learned."""
    from service.cli.client import ApiError, connect, request
    from service.cli.target import running

    target = running(state_dir, url)
    report = Report(lines=len(lines))
    with connect(target) as client, _progress(len(lines)) as progress:
        for group in groups(lines):
            content = b"".join(line.encoded() for line in group)
            headers = {"Content-Type": "application/x-ndjson"}
            try:
                answer = request(client, "POST", group[0].path, content=content, headers=headers)
            except ApiError as error:
                if error.status != 413 or len(group) > 1:
                    raise
                answer = {"results": [{"line": 1, "error": {"message": str(error)}}]}  # one line that is too long
            take_in(report, group, answer)
            if progress is not None:
                progress.advance(progress.task_ids[0], len(group))
        return report, await_idle(client) if wait else None


def tell(report: Report, status: dict[str, Any] | None, file: str, as_json: bool) -> None:
    """Prints what became of a file's lines. Ends with exit status 1 where one was refused."""
    if as_json:
        print_json({**report.as_json(), **({"status": status} if status else {})})
    else:
        for refused in report.rejected:
            typer.echo(f"{file}, line {refused['line']}: {refused['message']}", err=True)
        typer.echo(f"{report.accepted} accepted, {report.repeated} known already, {len(report.rejected)} refused")
        if status:
            typer.echo(f"learning is {status['learning']} at version {status['version']}: {status['reason'] or '-'}")
    if report.rejected:
        raise typer.Exit(1)
