"""The second copy of the log: every entry as it stands there, in compressed batches that can be checked.

One rule: a batch is written in the transaction that moves the checkpoint, so batches of a partition follow one
another without a gap or an overlap, and nothing may be trimmed from the log above the last of them. Each names the
entry it follows, under its digest, so that a batch that was taken away later is missed.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from projections import checkpoints, tables
from projections.projection import BEGINNING, Pace, Projection, Seen, order

_LEVEL: Final = 1
"""Sealed content does not compress below its base64; higher levels cost five times the time for a few percent."""

_LENGTH: Final = 4
"""Bytes that say how long what follows is."""

_INSERT: Final = """
INSERT INTO archive (partition, first_id, last_id, events, sha256, payload, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""


class Damaged(Exception):
    """A batch of the archive is not what was written; it names the batch."""


def pack(behind: str, entries: Sequence[tuple[str, bytes]]) -> bytes:
    """The entry that the batch follows, then (entry id, raw envelope) …, each part behind its length, big endian: as
    one compressed block."""
    parts: list[bytes] = []
    for part in (behind.encode(), *(part for entry_id, raw in entries for part in (entry_id.encode(), raw))):
        parts += (len(part).to_bytes(_LENGTH, "big"), part)
    return zlib.compress(b"".join(parts), _LEVEL)


def unpack(block: bytes) -> tuple[str, Iterator[tuple[str, bytes]]]:
    """What `pack` was given. Raises Damaged."""
    try:
        rest = memoryview(zlib.decompress(block))
    except zlib.error:
        raise Damaged("not compressed as it was") from None
    parts: list[bytes] = []
    at = 0
    while at < len(rest):
        length = int.from_bytes(rest[at : at + _LENGTH], "big")
        at += _LENGTH + length
        parts.append(bytes(rest[at - length : at]))
    if len(parts) % 2 == 0:
        raise Damaged("cut off")
    entries = ((entry_id.decode(), raw) for entry_id, raw in zip(parts[1::2], parts[2::2], strict=True))
    return parts[0].decode(), entries


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    behind = await last_id(connection, batch[0].partition)
    batch = [seen for seen in batch if order(seen.entry_id) > order(behind)]
    if not batch:
        return  # a checkpoint that was set back
    first, last = batch[0], batch[-1]
    block = pack(behind, [(seen.entry_id, seen.raw) for seen in batch])
    created_at = datetime.fromtimestamp(order(first.entry_id)[0] / 1000, UTC)
    digest = hashlib.sha256(block).digest()
    await connection.exec_driver_sql(
        _INSERT, (first.partition, first.entry_id, last.entry_id, len(batch), digest, block, created_at)
    )


ARCHIVE: Final = Projection(
    name="archive",
    tables=(tables.archive,),
    apply=apply,
    wants=None,
    pace=Pace(entries_max=2000, linger_s=5.0, durable=True),
)
"""Batches are large because small ones compress badly and each costs a row; until one is written the log holds it."""


# Queries.


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch as it was found. `fault` is None when it is what was written and follows the one before."""

    partition: int
    first_id: str
    last_id: str
    events: int
    fault: str | None


async def entries(connection: AsyncConnection, partition: int, after: str) -> AsyncIterator[list[tuple[str, bytes]]]:
    """The archived entries of a partition behind an entry id, batch by batch, one batch in memory. Raises Damaged."""
    async for batch in _batches(connection, partition, after):
        if hashlib.sha256(batch.payload).digest() != batch.sha256:
            raise Damaged(f"batch {batch.first_id} of partition {partition}")
        yield [entry for entry in unpack(batch.payload)[1] if order(entry[0]) > order(after)]


async def last_id(connection: AsyncConnection, partition: int) -> str:
    """The newest archived entry of a partition."""
    found = await connection.execute(
        text(
            "SELECT last_id FROM archive WHERE partition = :partition"
            " ORDER BY created_at DESC, length(first_id) DESC, first_id DESC LIMIT 1"
        ),
        {"partition": partition},
    )
    return str(found.scalar_one_or_none() or BEGINNING)


async def size(connection: AsyncConnection) -> int:
    """How many entries are archived."""
    return int((await connection.execute(text("SELECT coalesce(sum(events), 0) FROM archive"))).scalar_one())


async def verify(connection: AsyncConnection, partition: int) -> AsyncIterator[Kept]:
    """Every batch of a partition, oldest first, checked against its digest, its own claims and the batch before; at
    last whether the archive reaches to where it stands."""
    behind = BEGINNING
    async for batch in _batches(connection, partition, BEGINNING):
        yield Kept(partition, batch.first_id, batch.last_id, batch.events, _fault(batch, behind))
        behind = batch.last_id
    stands = (await checkpoints.of(connection, "public", ARCHIVE.name, partition + 1, locked=False)).get(partition)
    if stands is not None and order(stands) != order(behind):
        yield Kept(partition, behind, stands, 0, f"the archive stands at {stands} and ends at {behind}")


@dataclass(frozen=True, slots=True)
class _Batch:
    first_id: str
    last_id: str
    events: int
    sha256: bytes
    payload: bytes = field(repr=False)
    created_at: datetime


def _fault(batch: _Batch, behind: str) -> str | None:
    if hashlib.sha256(batch.payload).digest() != batch.sha256:
        return "its digest does not fit"
    follows, entries = unpack(batch.payload)
    ids = [entry_id for entry_id, _ in entries]
    if (len(ids), ids[0], ids[-1]) != (batch.events, batch.first_id, batch.last_id):
        return "its entries are not those it names"
    if follows != behind:
        return f"entries between {behind} and {follows} are missing"
    orders = [order(entry_id) for entry_id in (behind, *ids)]
    return None if all(one < other for one, other in pairwise(orders)) else "its entries are out of order"


async def _batches(connection: AsyncConnection, partition: int, after: str) -> AsyncIterator[_Batch]:
    """The batches that hold anything behind an entry id, oldest first. Batches do not overlap, so the next one is the
    oldest whose last entry lies behind, and none begins before the one that came before it."""
    since = datetime.min.replace(tzinfo=UTC)
    while True:
        found = await connection.execute(
            text(
                "SELECT first_id, last_id, events, sha256, payload, created_at FROM archive"
                " WHERE partition = :partition AND created_at >= :since"
                " AND (split_part(last_id, '-', 1)::bigint, split_part(last_id, '-', 2)::bigint) > (:ms, :number)"
                " ORDER BY created_at, length(first_id), first_id LIMIT 1"
            ),
            {"partition": partition, "since": since, "ms": order(after)[0], "number": order(after)[1]},
        )
        row = found.one_or_none()
        if row is None:
            return
        batch = _Batch(*row)
        yield batch
        after, since = batch.last_id, batch.created_at
