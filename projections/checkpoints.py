"""Where each projection stands on the log.

One rule: whoever writes a projection's tables moves or locks its checkpoint first, in the same transaction. So two
writers never meet in the tables, and a rebuild that holds the checkpoint knows the live rows stand still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from projections.projection import BEGINNING, Projection


class Moved(Exception):
    """The checkpoint is not where it was left: somebody else has written meanwhile."""


async def hold(connection: AsyncConnection, projection: str, partition: int) -> bool:
    """Try to become the one runner of a projection and partition, for as long as the connection lives."""
    found = await connection.execute(
        text("SELECT pg_try_advisory_lock(:projection, :partition)"),
        # The two numbers of an advisory lock are signed and of four bytes.
        {"projection": crc32(projection.encode()) - 2**31, "partition": partition},
    )
    return bool(found.scalar_one())


async def load(connection: AsyncConnection, projection: str, partition: int) -> str:
    """The last entry applied; written down as BEGINNING when the projection is new."""
    given = {"projection": projection, "partition": partition, "entry_id": BEGINNING}
    await connection.execute(
        text("INSERT INTO checkpoints VALUES (:projection, :partition, :entry_id) ON CONFLICT DO NOTHING"), given
    )
    found = await connection.execute(
        text("SELECT entry_id FROM checkpoints WHERE projection = :projection AND partition = :partition"), given
    )
    return str(found.scalar_one())


async def advance(
    connection: AsyncConnection, projections: Sequence[Projection], partition: int, before: str, after: str
) -> None:
    """Move the checkpoints of projections that stand at `before` on to `after`. Raises Moved when one does not."""
    moved = await connection.exec_driver_sql(
        "UPDATE checkpoints SET entry_id = $1 WHERE partition = $2 AND projection = ANY($3::text[]) AND entry_id = $4",
        (after, partition, [projection.name for projection in projections], before),
    )
    if moved.rowcount != len(projections):
        raise Moved(before)


async def of(
    connection: AsyncConnection, schema: str, projection: str, partitions: int, *, locked: bool
) -> dict[int, str]:
    """Partition → last entry applied. `locked`: held until commit, those that were never written down too."""
    given = {"projection": projection, "partitions": partitions, "beginning": BEGINNING}
    if locked:
        await connection.execute(
            text(
                f"INSERT INTO {schema}.checkpoints"
                " SELECT :projection, generate_series(0, :partitions - 1), :beginning ON CONFLICT DO NOTHING"
            ),
            given,
        )
    found = await connection.execute(
        text(
            f"SELECT partition, entry_id FROM {schema}.checkpoints"  # noqa: S608
            " WHERE projection = :projection AND partition < :partitions ORDER BY partition"
            + (" FOR UPDATE" if locked else "")
        ),
        given,
    )
    return {row.partition: row.entry_id for row in found}


async def place(connection: AsyncConnection, schema: str, projection: str, stands: Mapping[int, str]) -> None:
    """Write down where a projection stands, for who holds its checkpoints."""
    for partition, entry_id in stands.items():
        await connection.execute(
            text(
                f"UPDATE {schema}.checkpoints SET entry_id = :entry_id"  # noqa: S608
                " WHERE projection = :projection AND partition = :partition"
            ),
            {"projection": projection, "partition": partition, "entry_id": entry_id},
        )
