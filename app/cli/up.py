"""`helix up`. One rule: standard output carries the ready line and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def up(
    host: Annotated[str, typer.Option(help="Where the web listens; `::` is both families.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.", envvar="PORT")] = 8000,
    data: Annotated[Path | None, typer.Option(help="Where everything is kept; .data beside the launcher.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Everything on one machine: log, cache, Postgres, web, worker, projector. Ctrl-C stops all of it."""
    from app.up.directory import default_directory
    from app.up.run import run

    raise typer.Exit(run(data or default_directory(), host, port, workers, as_json))
