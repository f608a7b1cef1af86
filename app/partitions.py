"""Monthly partitions while the system runs: made ahead of time, and an alarm when a row found none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app import telemetry
from projections import partitions

log = structlog.get_logger()

EVERY_S: Final = 3600.0
"""The months ahead leave a quarter for this to succeed once."""

AGAIN_S: Final = 30.0
"""Pause after an outage of Postgres."""

LOCK_WAIT: Final = "5s"
"""How long a new partition waits for readers of the default one; others would queue behind it for as long."""


async def keep(database: AsyncEngine) -> None:
    """Make partitions ahead and look for strayed rows, until cancelled."""
    while True:
        try:
            await maintain(database, datetime.now(UTC))
            await asyncio.sleep(EVERY_S)
        except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as outage:
            log.warning("partitions_interrupted", error=type(outage).__name__, again_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)


async def maintain(database: AsyncEngine, now: datetime) -> dict[str, int]:
    """Once → for each partitioned table, the rows in its default partition (at most 1000 counted)."""
    async with database.begin() as connection:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
        made = await partitions.make_ahead(connection, now)
    if made:
        log.info("partitions_made", names=made)
    found = {}
    for table in partitions.PARTITIONED:
        async with database.connect() as connection:
            found[table] = await partitions.strayed(connection, table)
        telemetry.STRAYED_ROWS.labels(table).set(found[table])
        if found[table]:
            log.error(f"{table}_default_partition_used", rows=found[table])
    return found
