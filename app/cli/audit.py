"""`helix audit`: is the chain whole, and what does it say."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.audited import told
from app.cli.over_log import refuse
from app.settings import settings

if TYPE_CHECKING:
    from projections.audit import Fault, Head

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")]

audit = typer.Typer(no_args_is_help=True, help="The audit log: who changed what, and when.")

FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

EXIT_BROKEN: Final = 1


@audit.command()
def verify(
    head: Annotated[
        list[str] | None,
        typer.Option(help="A head that was noted earlier, PARTITION:NUMBER:HASH: the chain must still go through it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every row against its hash and the row before. Ends with 1 when a row was changed, taken away, put in or
    moved, or the newest are missing. Note the heads it prints somewhere else: with --head it also finds a chain that
    somebody has written anew as a whole."""
    noted = [_noted(text) for text in head or ()]
    heads, faults = _run(noted)
    if as_json:
        document = {
            "whole": not faults,
            "rows": sum(one.number - one.anchor_number for one in heads),
            "heads": [_said(one) for one in heads],
            "faults": [asdict(fault) for fault in faults],
        }
        typer.echo(json.dumps(document))
    else:
        for fault in faults:
            typer.echo(f"partition {fault.partition}, row {fault.number}: {fault.what}")
        for one in heads:
            typer.echo(f"partition {one.partition}: rows {one.anchor_number + 1} to {one.number}, head {_said(one)}")
        typer.echo("the chain is broken" if faults else "every row is what was written")
    if faults:
        raise typer.Exit(EXIT_BROKEN)


@audit.command()
def export(
    since: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="From this time on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="Before this time, UTC.")] = None,
) -> None:
    """Every row of a stretch of time, a line of JSON each: the row, and its hash."""
    from app.postgres import engine
    from projections.audit import written

    async def run() -> None:
        await told("audit.export")
        async with engine(settings().database) as database, database.connect() as connection:
            async for row, hash in written(connection, _utc(since), _utc(until)):
                at = row.created_at.astimezone(UTC).isoformat()
                typer.echo(json.dumps(asdict(row) | {"created_at": at, "hash": hash.hex()}))

    asyncio.run(run())


def _run(noted: list[tuple[int, int, str]]) -> tuple[list[Head], list[Fault]]:
    from sqlalchemy.exc import DBAPIError

    from app.postgres import engine
    from projections import audit as chain
    from projections.audit import Fault

    async def run() -> tuple[list[Head], list[Fault]]:
        heads, faults = [], []
        async with engine(settings().database) as database, database.connect() as connection:
            for partition in range(settings().helix_partitions):
                head, found = await chain.verify(connection, partition)
                heads.append(head)
                faults += found
            for partition, number, hash in noted:
                if (kept := await chain.hash_of(connection, partition, number)) != hash:
                    what = "it is gone" if kept is None else "it is another than the one that was noted"
                    faults.append(Fault(partition, number, what))
        return heads, faults

    try:
        return asyncio.run(run())
    except (DBAPIError, OSError) as failed:
        refuse(f"Postgres does not answer ({type(failed).__name__})", code=1)


def _said(head: Head) -> str:
    return f"{head.partition}:{head.number}:{head.hash.hex()}"


def _noted(text: str) -> tuple[int, int, str]:
    try:
        partition, number, hash = text.split(":")
        return int(partition), int(number), bytes.fromhex(hash).hex()
    except ValueError:
        refuse(f"{text!r} is no head: PARTITION:NUMBER:HASH")


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
