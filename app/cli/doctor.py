"""`helix doctor`. One rule: what is bad ends with a word on how to mend it, and with exit code 1."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Final

import typer

from app.settings import settings

MARKS: Final = {"good": "ok     ", "warning": "warning", "bad": "BAD    ", "unknown": "unknown"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Check every dependency and setting, and say what to mend."""
    chosen = settings()
    from app.doctor import as_document, examine
    from app.up.directory import default_directory

    checks = asyncio.run(examine(chosen, default_directory()))
    if as_json:
        typer.echo(json.dumps(as_document(checks)))
    else:
        for check in checks:
            mend = f"\n         → {check.mend}" if check.mend else ""
            typer.echo(f"{MARKS[check.verdict]}  {check.name}: {check.found}{mend}")
    raise typer.Exit(1 if any(check.verdict == "bad" for check in checks) else 0)
