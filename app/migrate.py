"""Bring the database to today's schema, and the log to its streams and groups.

One rule: any number of processes may migrate at once; they take turns, and the later ones find nothing to do.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.postgres import engine
from projections import partitions

log = structlog.get_logger()

MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"

_LOCK: Final = 0x68656C69_6D696772  # "helimigr"


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _run(connection: Connection, revision: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = _config(connection)
    if revision == "base" or revision.startswith("-"):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def upgrade(database_url: str, revision: str = "head") -> None:
    """Apply what is missing up to `revision`, and make the partitions of this month and those ahead."""
    async with engine(database_url) as database, database.begin() as connection:
        await connection.run_sync(_run, revision)
        made = await partitions.make_ahead(connection, datetime.now(UTC))
    log.info("database_migrated", revision=revision, partitions=made)


async def downgrade(database_url: str, revision: str) -> None:
    """Take back every migration behind `revision` (`base`: all of them), with the tables they made."""
    async with engine(database_url) as database, database.begin() as connection:
        await connection.run_sync(_run, revision)
    log.info("database_taken_back", revision=revision)


async def at_head(database_url: str) -> bool:
    """Whether every migration of this program has been applied."""
    heads = set(ScriptDirectory.from_config(_config()).get_heads())
    async with engine(database_url) as database, database.connect() as connection:
        return heads == await connection.run_sync(lambda c: set(MigrationContext.configure(c).get_current_heads()))


async def partitions_read(database_url: str) -> int:
    """How many partitions of a log the database has read from: the archive of each lies in it."""
    async with engine(database_url) as database, database.connect() as connection:
        found = await connection.execute(text("SELECT coalesce(max(partition) + 1, 0) FROM checkpoints"))
        return int(found.scalar_one())


def run() -> None:
    """The command `helix migrate`. Exits with one line when HELIX_PARTITIONS is not what the log or the archive has, or
    when a file of prices makes no sense."""
    from app import price_book
    from app.database import connected
    from app.log import Log
    from app.log.count import OtherCount, agree
    from app.providers.catalogue import load_catalogue
    from app.settings import settings

    async def migrate() -> None:
        chosen = settings()
        await upgrade(chosen.database)
        read = await partitions_read(chosen.database)
        if read > chosen.helix_partitions:
            # A replay would leave out the archive of those that are not counted any more.
            raise OtherCount(read, chosen.helix_partitions)
        await agree(chosen.log, chosen.helix_partitions)
        stream = await Log(chosen.log, name="migrate", partitions=chosen.helix_partitions).open()
        try:
            await stream.declare()
        finally:
            await stream.close()
        async with connected(chosen.database) as connection:
            await price_book.keep(connection, price_book.prices_in(load_catalogue(chosen)))

    try:
        asyncio.run(migrate())
    except (OtherCount, ValueError) as refused:  # a ValueError is a file of prices or providers that makes no sense
        raise SystemExit(f"helix: {refused}") from None
