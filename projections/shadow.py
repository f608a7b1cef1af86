"""Empty copies of a projection's tables in a schema of their own, to be filled, compared and put in place.

One rule: the connection that fills a shadow has it as its whole search path. The projection's own code writes there
without knowing it, and a table that the shadow lacks is an error, never the live one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from projections import partitions
from projections.projection import Projection
from projections.tables import unreadable

_SHOWN_MAX: Final = 10
"""Rows named for each kind of difference: enough to see a pattern, few enough to read."""

_CHILD: Final = re.compile(r"_(\d{4})_(\d{2})$")


def append_only(schema: str, table: str) -> tuple[str, str]:
    """What keeps a table from being changed, as the migration wrote it; a table made anew has to be told again."""
    refused = f"EXECUTE FUNCTION {schema}.append_only()"
    return (
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {schema}.{table} FOR EACH ROW {refused}",
        f"CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON {schema}.{table} FOR EACH STATEMENT {refused}",
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time an event must have happened in: from `since`, before `until`; None is open."""

    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    @property
    def whole(self) -> bool:
        return self.since is None and self.until is None

    def condition(self, column: str | None) -> str:
        """As SQL over a column of timestamptz."""
        parts = [
            f"{column} {sign} '{at.astimezone(UTC).isoformat()}'"
            for sign, at in ((">=", self.since), ("<", self.until))
            if at is not None
        ]
        return " AND ".join(parts) or "true"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a live table and its shadow differ. A row that has changed counts on both sides."""

    table: str
    live_rows: int
    shadow_rows: int
    only_live: int
    only_shadow: int
    examples: tuple[str, ...]
    """Keys of some of them."""

    @property
    def none(self) -> bool:
        return self.only_live == self.only_shadow == 0


class Shadow:
    """The shadow of one projection, over the connection that fills it."""

    def __init__(self, connection: AsyncConnection, projection: Projection, live_schema: str) -> None:
        self._connection = connection
        self.projection = projection
        self.live_schema = live_schema
        self.schema = f"shadow_{projection.name}"

    async def make(self) -> None:
        """Empty tables with their keys alone, whatever was left of an earlier try; from now on the connection sees only
        these."""
        async with self._connection.begin():
            await self._do(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
            await self._do(f"CREATE SCHEMA {self.schema}")
            await self._do(f"SET SESSION search_path TO {self.schema}")
            await self._do("SET SESSION synchronous_commit = off")
            for table in (*self.projection.tables, unreadable):
                await self._connection.execute(CreateTable(table))
                if table.name in partitions.PARTITIONED:
                    await self._do(f"CREATE TABLE {table.name}_default PARTITION OF {table.name} DEFAULT")
            await self.make_partitions()

    async def index(self) -> None:
        """What readers need beyond the keys; made over the filled tables, which is cheaper than row by row."""
        async with self._connection.begin():
            for table in self.projection.tables:
                for index in sorted(table.indexes, key=lambda one: str(one.name)):
                    await self._connection.execute(CreateIndex(index))

    async def drop(self) -> None:
        async with self._connection.begin():
            await self._do(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")

    async def make_partitions(self) -> None:
        """Those that the live tables have and the shadow lacks."""
        for table in self.projection.tables:
            if table.name in partitions.PARTITIONED:
                names = await self._children(self.live_schema, table.name)
                found = [_CHILD.search(name) for name in names]
                months = [datetime(int(one[1]), int(one[2]), 1, tzinfo=UTC) for one in found if one]
                await partitions.make(self._connection, table.name, months)

    async def compare(self, stretch: Stretch) -> list[Difference]:
        """Row for row, every column, in the connection's transaction."""
        times = self.projection.times or [None] * len(self.projection.tables)
        return [
            await self._compare(table, stretch.condition(time))
            for table, time in zip(self.projection.tables, times, strict=True)
        ]

    async def _compare(self, table: Table, where: str) -> Difference:
        columns = ", ".join(column.name for column in table.columns)
        keys = ", ".join(column.name for column in table.primary_key)
        live = f"SELECT {columns} FROM {self.live_schema}.{table.name} WHERE {where}"  # noqa: S608  # names and times of ours
        shadow = f"SELECT {columns} FROM {self.schema}.{table.name} WHERE {where}"  # noqa: S608
        only_live, only_shadow = f"({live}) EXCEPT ({shadow})", f"({shadow}) EXCEPT ({live})"
        either = f"({only_live}) UNION ALL ({only_shadow})"
        shown = f"SELECT DISTINCT ({keys})::text FROM ({either}) AS rows ORDER BY 1 LIMIT {_SHOWN_MAX}"  # noqa: S608
        difference = Difference(
            table.name,
            await self._count(live),
            await self._count(shadow),
            await self._count(only_live),
            await self._count(only_shadow),
            examples=(),
        )
        if difference.none:
            return difference
        found = await self._connection.execute(text(shown))
        return replace(difference, examples=tuple(str(row[0]) for row in found))

    async def _count(self, query: str) -> int:
        return int((await self._connection.execute(text(f"SELECT count(*) FROM ({query}) AS rows"))).scalar_one())  # noqa: S608

    async def take_place(self, stretch: Stretch) -> None:
        """Put the shadow's rows in the live tables' place, in the connection's transaction, which must hold the
        projection's checkpoints. A whole shadow becomes the live tables; a stretch replaces the rows of its time."""
        await partitions.take_turn(self._connection)
        if stretch.whole:
            for table in self.projection.tables:
                children = await self._children(self.schema, table.name)
                await self._do(f"DROP TABLE {self.live_schema}.{table.name}")
                for name in (table.name, *children):
                    await self._do(f"ALTER TABLE {self.schema}.{name} SET SCHEMA {self.live_schema}")
                if table in self.projection.append_only:
                    for statement in append_only(self.live_schema, table.name):
                        await self._do(statement)
        else:
            assert self.projection.times is not None
            for table, time in zip(self.projection.tables, self.projection.times, strict=True):
                columns = ", ".join(column.name for column in table.columns)
                await self._do(f"DELETE FROM {self.live_schema}.{table.name} WHERE {stretch.condition(time)}")  # noqa: S608
                await self._do(
                    f"INSERT INTO {self.live_schema}.{table.name} ({columns})"  # noqa: S608
                    f" SELECT {columns} FROM {self.schema}.{table.name} ON CONFLICT DO NOTHING"
                )
        name = self.projection.name
        if stretch.whole:  # one that can be read by now has a row by now
            await self._do(f"DELETE FROM {self.live_schema}.unreadable WHERE projection = '{name}'")  # noqa: S608
        await self._do(
            f"INSERT INTO {self.live_schema}.unreadable SELECT * FROM {self.schema}.unreadable ON CONFLICT DO NOTHING"  # noqa: S608
        )

    async def passed_by(self) -> int:
        """How many entries had no row."""
        async with self._connection.begin():
            return int((await self._connection.execute(text("SELECT count(*) FROM unreadable"))).scalar_one())

    async def _children(self, schema: str, table: str) -> Sequence[str]:
        found = await self._connection.execute(
            text(
                "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
                " WHERE inhparent = to_regclass(:parent) ORDER BY 1"
            ),
            {"parent": f"{schema}.{table}"},
        )
        return found.scalars().all()

    async def _do(self, statement: str) -> None:
        await self._connection.exec_driver_sql(statement)
