"""The schema: there and back again, as the projections describe it, with a partition for every month."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app import migrate
from app.postgres import engine
from projections import partitions
from projections.rebuild import Wish, rebuild
from projections.tables import metadata
from projections.usage import USAGE
from tests.projections import MemoryLog, finished, rows, running, until


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine(database_url) as opened:
        yield opened


def differences(connection: Connection) -> list[object]:
    described = {
        "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables,
        "compare_type": True,
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=described), metadata))


async def test_up_down_and_up_again(database: AsyncEngine, database_url: str) -> None:
    assert await migrate.at_head(database_url)
    await migrate.downgrade(database_url, "base")
    assert not await migrate.at_head(database_url)
    left = "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
    assert await rows(database, f"{left} AND relkind IN ('r', 'p')") == [("alembic_version",)]
    await migrate.upgrade(database_url)
    await migrate.upgrade(database_url)
    assert await migrate.at_head(database_url)


async def test_the_tables_are_what_the_projections_describe(database: AsyncEngine) -> None:
    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_columns_stand_in_the_order_the_projections_describe(database: AsyncEngine) -> None:
    for table in metadata.tables.values():
        query = (
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{table.name}'::regclass AND attnum > 0 ORDER BY attnum"
        )
        assert await rows(database, query) == [(column.name,) for column in table.columns]


async def test_a_rebuild_leaves_the_schema_as_the_migrations_made_it(database: AsyncEngine) -> None:
    shape = """
        SELECT relname, relkind, pg_get_expr(relpartbound, oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'usage%' AND relkind IN ('r', 'p') ORDER BY 1
    """
    before = await rows(database, shape)
    await rebuild(database, MemoryLog(), USAGE, 1, Wish())
    assert await rows(database, shape) == before
    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_months_ahead_have_partitions(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        made = await partitions.make_ahead(connection, datetime(2031, 11, 30, 23, 59, 59, tzinfo=UTC))
        again = await partitions.make_ahead(connection, datetime(2031, 11, 30, 23, 59, 59, tzinfo=UTC))
    assert made[:4] == ["usage_2031_11", "usage_2031_12", "usage_2032_01", "usage_2032_02"]
    assert again == []


async def test_rows_of_both_sides_of_the_month_turn_fall_into_their_own_months(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(
        finished(at=datetime(2031, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)),
        finished(at=datetime(2031, 12, 1, tzinfo=UTC)),
    )
    async with database.begin() as connection:
        await partitions.make_ahead(connection, datetime(2031, 11, 30, tzinfo=UTC))
    async with running(database, log):
        await until(database, log)
    assert await rows(database, "SELECT tableoid::regclass::text FROM usage ORDER BY created_at") == [
        ("usage_2031_11",),
        ("usage_2031_12",),
    ]


async def test_rows_that_came_before_their_month_are_moved_into_it(database: AsyncEngine) -> None:
    log = MemoryLog()
    log.add(finished(at=datetime(2031, 11, 5, tzinfo=UTC)), finished(at=datetime(2031, 12, 5, tzinfo=UTC)))
    async with running(database, log):
        await until(database, log)
    async with database.begin() as connection:
        assert await partitions.strayed(connection, "usage") == 2
        await partitions.make_ahead(connection, datetime(2031, 11, 30, tzinfo=UTC))
        assert await partitions.strayed(connection, "usage") == 0
        assert (await connection.execute(text("SELECT count(*) FROM usage"))).scalar_one() == 2


async def test_partitions_are_made_in_the_schema_that_is_looked_at(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.execute(text("CREATE SCHEMA apart"))
        await connection.execute(text("SET LOCAL search_path TO apart"))
        for table in ("usage", "archive"):
            await connection.run_sync(metadata.tables[table].create)
            await connection.execute(text(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT"))
        assert len(await partitions.make_ahead(connection, datetime(2026, 11, 1, tzinfo=UTC))) == 8


async def test_a_negative_cost_is_refused_by_the_table_itself(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO usage SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '', '', '', 0, 0, 0,"
                " -0.000000001, 0, 'success', now(), '', gen_random_uuid(), 1, 'provider', false"
            )
    finally:
        await connection.close()
