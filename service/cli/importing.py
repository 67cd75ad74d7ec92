"""`edge-es feedback import`: what people said elsewhere, as events."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson, ConfigFile, StateDir, Url, print_json


class Source(StrEnum):
    """The formats of service/importers."""

    openwebui = "openwebui"
    langfuse = "langfuse"
    jsonl = "jsonl"
    csv = "csv"


def import_file(
    file: Annotated[str, typer.Argument(help="The exported file, or - for standard input.")],
    source: Annotated[Source, typer.Option("--from", help="What exported it.")],
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces",
            exists=True,
            dir_okay=False,
            help="langfuse: an export of traces or observations, for the texts of scores.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the events and send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the learner has used what it can.")] = False,
    config: ConfigFile = None,
    state_dir: StateDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send ratings exported by Open WebUI or Langfuse, or a table; the same file again sends nothing twice.

    Rows that say nothing that can be learned from are reported one by one, and do not keep the others back; exit
    status 1 where there was one.
    """
    from edge_es.config import load
    from edge_es.errors import InputError
    from service.cli.feedback import Line, deliver, read_input, tell
    from service.importers import convert, langfuse, openwebui, plain

    if traces is not None and source is not Source.langfuse:
        raise typer.BadParameter("it goes with --from langfuse", param_hint="--traces")
    text = read_input(file)
    metrics = {name: metric.type for name, metric in load(config).all_metrics().items()}
    if source is Source.openwebui:
        rows = openwebui.read(text)
    elif source is Source.langfuse:
        texts = read_input(str(traces)) if traces else None
        rows = langfuse.read(text, texts, metrics)
    else:
        rows = plain.read(text, metrics)
    try:
        found = convert(rows, source.value)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if dry_run:
        if as_json:
            bodies = [{"line": number, "body": body} for number, body in found.bodies]
            print_json({"events": bodies, "unmapped": found.refusals, "ok": not found.refusals})
        else:
            for _, body in found.bodies:
                typer.echo(json.dumps(body, ensure_ascii=False))
            for refusal in found.refusals:
                typer.echo(f"{file}, line {refusal['line']}: {refusal['message']}", err=True)
            typer.echo(
                f"{len(found.bodies)} events, {len(found.refusals)} rows that say none; nothing was sent", err=True
            )
        raise typer.Exit(1 if found.refusals else 0)
    lines = [
        Line(number, "/v1/tasks/batch" if "grader" in body else "/v1/feedback/batch", body)
        for number, body in found.bodies
    ]
    report, status = deliver(lines, wait, state_dir, url)
    report.lines += len(found.refusals)
    report.rejected = sorted(
        [*report.rejected, *({**refusal, "param": None} for refusal in found.refusals)], key=lambda one: one["line"]
    )
    tell(report, status, file, as_json)
