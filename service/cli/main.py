"""`edge-es`: the commands and nothing else. Each has its own file and imports what it needs when it runs."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge_es import __version__
from edge_es.errors import EdgeError
from service.cli import (
    bench,
    bench_serve,
    bench_soak,
    bench_workers,
    chat,
    config,
    dashboard,
    demo,
    doctor,
    feedback,
    probe,
    retention,
    serve,
    status,
    study,
    tokens,
    transfer,
    versions,
    workers,
)


class _Commands(TyperGroup):
    """Turns the library's errors into one line on standard error and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would cost a third of the time that --help may take
    pretty_exceptions_enable=False,
    help="Serves one quantized language model, learns from feedback, and takes it back when it forgets.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-es {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Holds the options that come before a command."""


app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("status")(status.status)
app.command("workers")(workers.workers)
app.command("dashboard")(dashboard.dashboard)
app.command("doctor")(doctor.doctor)
app.add_typer(tokens.app, name="token")
app.add_typer(config.app, name="config")
app.add_typer(feedback.app, name="feedback")
app.add_typer(retention.app, name="retention")
app.command("versions")(versions.versions)
app.command("diff")(versions.diff)
app.command("rollback")(versions.rollback)
app.command("verify")(versions.verify)
app.add_typer(transfer.exports, name="export")
app.add_typer(transfer.imports, name="import")
app.add_typer(probe.app, name="probe")
app.command("bench")(bench.bench)
app.command("bench-serve")(bench_serve.bench_serve)
app.command("bench-workers")(bench_workers.bench_workers)
app.command("bench-soak")(bench_soak.bench_soak)
app.add_typer(study.app, name="study")
app.command("demo")(demo.demo)

if __name__ == "__main__":
    app()
