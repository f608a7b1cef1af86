"""`helix replay`: make a projection anew from the log and its archive, beside the running system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.audited import told
from app.cli.over_log import same_count
from app.settings import settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from projections.archive import Kept
    from projections.rebuild import Result, Wish

FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

EXIT_DIFFERENT: Final = 1
EXIT_IMPOSSIBLE: Final = 2

From = Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="Only events from this time on, UTC.")]
To = Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="Only events before this time, UTC.")]


def replay(
    projection: Annotated[str, typer.Argument(help="requests, usage, conversations; archive is only checked.")],
    since: From = None,
    until: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and compare row for row; change nothing.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the live rows before putting it in place.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of prose.")] = False,
) -> None:
    """Rebuild a projection. Live reads and writes go on; a half-built table is never seen.

    Ends with 1 when --dry-run finds a difference, with 2 when the rebuild is impossible.
    """
    from projections import PROJECTIONS
    from projections.archive import Damaged
    from projections.rebuild import CannotRebuild, Wish
    from projections.shadow import Stretch

    chosen = {one.name: one for one in PROJECTIONS}.get(projection)
    if chosen is None:
        typer.echo(f"there is no projection {projection}; there are {', '.join(p.name for p in PROJECTIONS)}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE)
    started = monotonic()
    if chosen.wants is None and (dry_run or verify):
        batches = asyncio.run(_check())
        faults = [batch for batch in batches if batch.fault]
        _tell_check(batches, faults, as_json)
        raise typer.Exit(EXIT_DIFFERENT if faults else 0)
    wish = Wish(stretch=Stretch(_utc(since), _utc(until)), compare=dry_run or verify, swap=not dry_run)
    same_count()  # a table made from some of the partitions would take the place of the whole one
    try:
        result = asyncio.run(_rebuild(projection, wish, quiet=as_json))
    except (CannotRebuild, Damaged) as refused:
        typer.echo(f"cannot rebuild: {refused}", err=True)
        raise typer.Exit(EXIT_IMPOSSIBLE) from None
    _tell(result, monotonic() - started, as_json)
    if dry_run and any(not one.none for one in result.differences or ()):
        raise typer.Exit(EXIT_DIFFERENT)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


async def _rebuild(name: str, wish: Wish, *, quiet: bool) -> Result:
    from app import collector
    from app.log import Log
    from app.postgres import engine
    from app.readers import LogSource, extent
    from projections import PROJECTIONS, archive
    from projections.rebuild import rebuild

    if wish.swap:
        await told("replay", name)
    chosen = settings()
    collector.rest(collector.ALLOCATIONS_OF_READERS)
    stream = await Log(chosen.log, name="replay", partitions=chosen.helix_partitions).open()
    try:
        async with engine(chosen.database) as database:
            async with database.connect() as connection:
                archived = await archive.size(connection)
            logged = sum([(await extent(stream, partition)).length for partition in range(stream.partitions)])
            projection = next(one for one in PROJECTIONS if one.name == name)
            with _bar(quiet) as bar:
                # What is archived and not yet trimmed is in both; each entry is read once.
                task = bar.add_task(f"replay {name}", total=max(archived, logged))
                read: Callable[[int], None] = lambda entries: bar.update(task, completed=entries)  # noqa: E731
                return await rebuild(database, LogSource(stream), projection, stream.partitions, wish, read)
    finally:
        await stream.close()


def _bar(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft())
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


async def _check() -> list[Kept]:
    from app.postgres import engine
    from projections import archive

    chosen = settings()
    async with engine(chosen.database) as database, database.connect() as connection:
        return [
            batch
            for partition in range(chosen.helix_partitions)
            async for batch in archive.verify(connection, partition)
        ]


def _tell(result: Result, took_s: float, as_json: bool) -> None:
    differences = result.differences
    if as_json:
        document: dict[str, Any] = asdict(result) | {
            "equal": None if differences is None else all(one.none for one in differences),
            "duration_ms": round(took_s * 1000),
        }
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{result.entries} entries in {took_s:.1f} s, {result.entries / took_s:,.0f}/s")
    if result.passed_by:
        typer.echo(f"{result.passed_by} entries have no row: nobody can read them (table unreadable)")
    for one in differences or ():
        if one.none:
            typer.echo(f"{one.table}: {one.live_rows} rows, equal")
        else:
            typer.echo(f"{one.table}: {one.only_live} rows only live, {one.only_shadow} only rebuilt, such as")
            for example in one.examples:
                typer.echo(f"  {example}")
    typer.echo(f"{result.projection} is in place" if result.swapped else "nothing was changed")


def _tell_check(batches: list[Kept], faults: list[Kept], as_json: bool) -> None:
    events = sum(batch.events for batch in batches)
    if as_json:
        found = {"batches": len(batches), "events": events, "faults": [asdict(fault) for fault in faults]}
        typer.echo(json.dumps({"projection": "archive", "equal": not faults} | found))
        return
    for fault in faults:
        typer.echo(f"partition {fault.partition}, {fault.first_id} to {fault.last_id}: {fault.fault}")
    typer.echo(f"{len(batches)} batches with {events} entries, {len(faults)} at fault")
