"""`helix web`, `worker`, `projector`, `migrate`: one process each, as the Procfile starts them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.settings import settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]


def web(
    host: Annotated[str | None, typer.Option(help="HELIX_HOST where left out; `::` listens on both families.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="PORT where left out; 0 takes a free one.")] = None,
    as_json: AsJson = False,
) -> None:
    """The web process: takes requests and answers them."""
    chosen = settings()
    from app.main import run

    run(chosen.helix_host if host is None else host, chosen.port if port is None else port)


def worker(as_json: AsJson = False) -> None:
    """A worker process: calls the providers and ends each request once."""
    settings()
    from app.worker import run

    run()


def projector(as_json: AsJson = False) -> None:
    """The projector process: reads the log into Postgres."""
    settings()
    from app.projector import run

    run()


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to today's schema and declare the log's streams and groups."""
    settings()
    from app.migrate import run

    run()
    typer.echo(json.dumps({"migrated": True}) if as_json else "The database and the log are at today's schema.")
