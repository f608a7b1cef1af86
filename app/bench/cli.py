"""`helix bench`. One rule: the table is for people on standard output, progress on standard error, the file for later."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

_FILE_COLUMNS: Final = 120
"""How wide a table is in a file or a pipe, where nobody says how much room there is."""


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="One short round, about a minute.")] = False,
    peer: Annotated[
        Literal["litellm"] | None, typer.Option(help="Run this beside Helix; installed into its own environment.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Measure Helix side by side with bare floors, and write what came out to `bench-<time>.json` here."""
    from rich.console import Console

    from app.bench import campaign, report
    from app.bench.books import Behind
    from app.bench.peers import PeerFailed
    from app.bench.scale import FULL, QUICK

    scale = QUICK if quick else FULL
    errors = Console(stderr=True)
    try:
        result = asyncio.run(
            campaign.run(scale, peer=peer, say=lambda stage: errors.print(f"bench: {stage}", style="dim"))
        )
    except (RuntimeError, Behind, PeerFailed) as failed:
        errors.print(f"bench: {failed}", style="red")
        raise typer.Exit(1) from None
    except (asyncio.CancelledError, KeyboardInterrupt):
        errors.print("bench: stopped")
        raise typer.Exit(130) from None
    path = result.write(Path.cwd())
    if as_json:
        typer.echo(result.encode())
    else:
        console = Console() if sys.stdout.isatty() else Console(width=_FILE_COLUMNS)
        for table in report.tables(result):
            console.print(table)
        for target, kinds in result.failures.items():
            console.print(f"failures of {target}: {kinds}", style="red")
        console.print(f"{result.seconds:.0f} s; written to {path.name}")
    if not result.right:
        raise typer.Exit(1)
