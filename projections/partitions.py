"""Monthly partitions: made ahead of time, in whatever schema the connection looks at first.

One rule: a row never waits for its month. What came before its partition was made lies in the default partition, and
is moved out of it when the month is made.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PARTITIONED: Final = ("usage", "archive")
"""Tables with one partition a month of their `created_at`."""

MONTHS_AHEAD: Final = 3
"""A projector that is down for a whole quarter still writes into a partition of its own when it comes back."""

_LOCK: Final = 0x68656C69_70617274  # "helipart": two processes that make partitions at once take turns


def month_of(at: datetime) -> datetime:
    """The first instant of the UTC month that `at` falls in."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(month: datetime, count: int = 1) -> datetime:
    """The first instant of the month that is `count` months behind `month`."""
    years, months = divmod(month.month - 1 + count, 12)
    return month.replace(year=month.year + years, month=months + 1)


def partition_name(table: str, month: datetime) -> str:
    return f"{table}_{month:%Y_%m}"


async def make_ahead(connection: AsyncConnection, now: datetime) -> list[str]:
    """Make the partitions of this month and of those ahead, for every partitioned table; the names of the new ones."""
    months = [month_after(month_of(now), count) for count in range(MONTHS_AHEAD + 1)]
    return [name for table in PARTITIONED for name in await make(connection, table, months)]


async def make(connection: AsyncConnection, table: str, months: list[datetime]) -> list[str]:
    """Make the partitions of these months inside the connection's transaction; the names of the new ones.

    Attaching leaves the table open to readers and writers; only its default partition is locked for that moment.
    """
    await take_turn(connection)
    made = []
    for month in months:
        name = partition_name(table, month)
        if (await connection.execute(text("SELECT to_regclass(:name)"), {"name": name})).scalar_one() is not None:
            continue
        # Names and times are ours, never a client's, and DDL takes no parameters.
        start, end = f"{month:%Y-%m-%d} 00:00:00+00", f"{month_after(month):%Y-%m-%d} 00:00:00+00"
        await connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)"))
        await connection.execute(text(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE"))
        await connection.execute(
            text(
                f"WITH early AS (DELETE FROM {table}_default"  # noqa: S608  # the names are the two constants above
                f" WHERE created_at >= '{start}' AND created_at < '{end}' RETURNING *)"
                f" INSERT INTO {name} SELECT * FROM early"
            )
        )
        await connection.execute(
            text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
        )
        made.append(name)
    return made


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until nobody else makes partitions; nobody does until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def strayed(connection: AsyncConnection, table: str) -> int:
    """How many rows lie in the default partition, for want of one of their own; counted up to 1000."""
    query = text(f"SELECT count(*) FROM (SELECT FROM {table}_default LIMIT 1000) AS rows")  # noqa: S608  # a constant
    return int((await connection.execute(query)).scalar_one())
