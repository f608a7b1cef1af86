"""Makes a backup while the system runs.

One rule: Postgres is read in one snapshot, and the log from where that snapshot stands. Nobody trims
meanwhile, so every event that was acknowledged before the backup began is in the dump or in the log's file.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.backup import carried, files
from app.database import CONNECT_S_MAX, Connection
from app.embedded.binaries import postgres_tool
from app.log import Log
from app.postgres import engine
from app.readers import extent
from app.trimmer import hold_off
from projections import PROJECTIONS, archive
from projections.projection import BEGINNING, order

KEY_COLUMNS: Final = ("account", "number", "wrapped", "wrapped_by", "created_at", "destroyed_at")


@dataclass(frozen=True, slots=True)
class Saved:
    """What the backup holds, and what it needs."""

    manifest: files.Manifest
    events: int
    """Events that were on the log alone."""
    commands: int
    """Requests that had been accepted and not ended."""
    parked: int


async def save(database_url: str, log: Log, directory: Path) -> Saved:
    """Raises NoBackup when the directory is not empty, ToolFailed, BinaryMissing, LogGone and asyncpg's own."""
    files.begin(directory)
    async with engine(database_url) as database, database.connect() as holding:
        await hold_off(holding)
        await holding.commit()
        reading = await asyncpg.connect(database_url, timeout=CONNECT_S_MAX)
        try:
            async with reading.transaction(isolation="repeatable_read", readonly=True):
                snapshot = str(await reading.fetchval("SELECT pg_export_snapshot()"))
                async with database.connect() as counting:
                    await _in_snapshot(counting, snapshot)
                    read = [await _read_by_all(counting, partition) for partition in range(log.partitions)]
                counts = await _save_log(log, read, directory)
                made_at = datetime.now(UTC)
                migration = str(await reading.fetchval("SELECT version_num FROM alembic_version"))
                words = ("--format=custom", "--no-owner", "--no-privileges", "--exclude-table-data=data_keys")
                place = f"--file={directory / files.DATABASE}"
                await run_tool("pg_dump", database_url, *words, f"--snapshot={snapshot}", place)
            names = await _save_keys(reading, directory)
        finally:
            await reading.close()
    manifest = files.end(
        directory,
        made_at=made_at,
        partitions=log.partitions,
        migration=migration,
        wrapped_by=names,
    )
    return Saved(manifest, counts["event"], counts["command"], counts["parked"])


async def _save_keys(connection: Connection, directory: Path) -> tuple[str, ...]:
    """Write the data keys as they are by now, not in the snapshot: an event on the log may be sealed under a key that is
    younger. → what they are wrapped by."""
    query = f"SELECT {', '.join(KEY_COLUMNS)} FROM data_keys ORDER BY account, number"  # noqa: S608  # ours
    await connection.copy_from_query(query, output=directory / files.KEYS, format="csv", header=True)
    names = await connection.fetch("SELECT DISTINCT wrapped_by FROM data_keys WHERE wrapped IS NOT NULL ORDER BY 1")
    return tuple(row["wrapped_by"] for row in names)


class ToolFailed(Exception):
    """pg_dump or pg_restore ended badly; the message is its own."""


async def run_tool(name: str, database_url: str, *words: str) -> None:
    """Run a client program of Postgres against a database, its password not on the command line."""
    url = make_url(database_url)
    shown = url.set(password=None).render_as_string(hide_password=False)
    environment = {**os.environ, "PGPASSWORD": url.password or "", "PGCONNECT_TIMEOUT": str(int(CONNECT_S_MAX))}
    command: Sequence[str] = (str(postgres_tool(name)), f"--dbname={shown}", *words)
    ran = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    if ran.returncode != 0:
        raise ToolFailed(f"{name} ended with {ran.returncode}: {ran.stderr.strip()[-500:]}")


async def _in_snapshot(connection: AsyncConnection, snapshot: str) -> None:
    await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    await connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")  # its name is Postgres' own


async def _read_by_all(connection: AsyncConnection, partition: int) -> str:
    """The last entry that everybody in the dump has applied."""
    found = await connection.execute(
        text("SELECT projection, entry_id FROM checkpoints WHERE partition = :partition"), {"partition": partition}
    )
    stands = {str(row.projection): str(row.entry_id) for row in found}
    known = [stands.get(projection.name, BEGINNING) for projection in PROJECTIONS]
    return min([*known, await archive.last_id(connection, partition)], key=order)


async def _save_log(log: Log, read: Sequence[str], directory: Path) -> dict[carried.Kind, int]:
    """Write what lies behind those entries, and where the log stands."""
    writer = carried.Writer(directory / files.LOG)
    stands = []
    try:
        for partition, behind in enumerate(read):
            async for one in carried.commands(log, partition):
                writer.write(one)
            async for one in carried.parked(log, partition):
                writer.write(one)
            now = await extent(log, partition)
            last_id, more = now.last_id, 0
            async for one in carried.events(log, partition, behind):
                writer.write(one)
                if order(one.id) > order(now.last_id):
                    last_id, more = one.id, more + 1
            stands.append(files.Stand(partition=partition, read_by_all=behind, last_id=last_id, added=now.added + more))
    finally:
        writer.close()
    (directory / files.POSITION).write_text(files.Position(stands=tuple(stands)).model_dump_json(indent=1) + "\n")
    return writer.counts
