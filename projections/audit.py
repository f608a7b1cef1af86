"""Who changed what, and when: a row for each change of a state, chained so that nothing can be taken away unseen.

One rule: a row is what the log says and is never changed. Its hash covers it and the row before it in its partition, so a
row that was altered, left out, put in or moved breaks the chain, and a chain that was cut short ends before its head.

Rows hold ids alone (docs/decisions/0027). What is older than two years goes, a month at a time, with the hash of the
last that went kept as the anchor: decided by the entries, so that a rebuild leaves the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.billing import UsageAdjusted
from events.catalog import CATALOG
from events.completions import CompletionEnded
from events.limits import BudgetReached
from events.message import Envelope, Event, Message
from events.responses import ResponseDeleted
from events.retention import ContentExpired
from projections import tables
from projections.partitions import month_after, month_of
from projections.projection import Projection, Seen, order

NO_CHANGE: Final = (CompletionEnded, UsageAdjusted, ResponseDeleted, BudgetReached, ContentExpired)
"""Facts about requests and what they cost: each has a table of its own. Every other fact is a change."""

WANTS: Final = frozenset(
    name for name, kind in CATALOG.items() if issubclass(kind, Event) and not issubclass(kind, NO_CHANGE)
)

KEPT_MONTHS: Final = 24
"""Whole months, beside the one that has begun: the guide wants two years."""

BEGINNING: Final = bytes(32)
"""The hash before the first row."""

_KEPT_ELSEWHERE: Final = frozenset(("by", "key_hash"))
"""One has a column of its own; the other is what processes know a key by, and nobody's business here."""

_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One change, as it is kept. `details` is the fact's own JSON, its fields in order."""

    partition: int
    number: int
    """1, 2, 3 … in its partition."""
    entry_id: str
    event_id: str
    created_at: datetime
    account: str
    by: str | None
    """See `events.message.By`."""
    action: str
    """The type of the fact, such as `key.revoked`."""
    subject: str
    details: str

    def hash(self, previous: bytes) -> bytes:
        """SHA-256 over the hash before it and all of the row, as a JSON list without spaces."""
        said = [self.partition, self.number, self.entry_id, self.event_id, self.created_at.astimezone(UTC).isoformat()]
        whole = [*said, self.account, self.by, self.action, self.subject, self.details]
        return sha256(previous + json.dumps(whole, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """How far a partition's chain reaches, and where it begins now that older rows have gone."""

    partition: int
    number: int = 0
    hash: bytes = BEGINNING
    entry_id: str = "0-0"
    anchor_number: int = 0
    """The last row that has gone."""
    anchor_hash: bytes = BEGINNING


def row_of(seen: Seen, number: int) -> Row:
    """Raises ValueError for a fact whose ids are none."""
    said = seen.envelope
    by = getattr(said.body, "by", None)
    return Row(
        seen.partition,
        number,
        seen.entry_id,
        str(UUID(said.id)),
        said.at,
        str(UUID(said.account)),
        by if isinstance(by, str) else None,
        said.type,
        said.subject,
        _details(said),
    )


def _details(said: Envelope) -> str:
    shown = said.body.model_dump(mode="json", exclude=_hidden(type(said.body)))
    return json.dumps(shown, sort_keys=True, separators=(",", ":"))


def _hidden(kind: type[Message]) -> set[str]:
    """What a fact does not show of itself (`repr=False`, such as what is sealed) is not shown here either."""
    return {name for name, field in kind.model_fields.items() if not field.repr} | _KEPT_ELSEWHERE


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    first: dict[str, Seen] = {}
    for seen in batch:
        first.setdefault(str(UUID(seen.envelope.id)), seen)
    found = await connection.exec_driver_sql(
        "SELECT event_id::text FROM audit WHERE event_id = ANY($1::uuid[])", (list(first),)
    )
    told = set(found.scalars())  # the outbox may say a fact twice
    fresh = [seen for id, seen in first.items() if id not in told]
    if not fresh:
        return
    head = await head_of(connection, fresh[0].partition)
    rows, hashes = list[Row](), list[bytes]()
    for seen in fresh:
        rows.append(row_of(seen, head.number + len(rows) + 1))
        hashes.append(rows[-1].hash(hashes[-1] if hashes else head.hash))
    await connection.exec_driver_sql(_INSERT, _columns(rows, hashes))
    month = _month(rows[-1].entry_id)
    anchor = head.anchor_number, head.anchor_hash
    if month > _month(head.entry_id):
        anchor = await _drop_old(connection, head, month_after(month, -KEPT_MONTHS - 1))
    await connection.exec_driver_sql(
        _KEEP_HEAD, (head.partition, rows[-1].number, hashes[-1], rows[-1].entry_id, *anchor)
    )


_INSERT: Final = """
INSERT INTO audit (partition, number, entry_id, event_id, created_at, account, by, action, subject, details, hash)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::uuid[], $5::timestamptz[], $6::uuid[], $7::text[],
  $8::text[], $9::text[], $10::text[], $11::bytea[])
"""

_KEEP_HEAD: Final = """
INSERT INTO audit_heads (partition, number, hash, entry_id, anchor_number, anchor_hash)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (partition) DO UPDATE SET number = EXCLUDED.number, hash = EXCLUDED.hash, entry_id = EXCLUDED.entry_id,
  anchor_number = EXCLUDED.anchor_number, anchor_hash = EXCLUDED.anchor_hash
"""


def _columns(rows: Sequence[Row], hashes: Sequence[bytes]) -> tuple[object, ...]:
    whole = [
        (
            row.partition,
            row.number,
            row.entry_id,
            row.event_id,
            row.created_at,
            row.account,
            row.by,
            row.action,
            row.subject,
            row.details,
            hash,
        )
        for row, hash in zip(rows, hashes, strict=True)
    ]
    return tuple(list(column) for column in zip(*whole, strict=True))


def _month(entry_id: str) -> datetime:
    """By the log server's clock: the one that no client and no other machine of ours has set."""
    return month_of(datetime.fromtimestamp(order(entry_id)[0] / 1000, UTC))


async def _drop_old(connection: AsyncConnection, head: Head, horizon: datetime) -> tuple[int, bytes]:
    """Take away the rows before the first one of `horizon` or later → (number, hash) of the last that has gone."""
    found = await connection.exec_driver_sql(
        "SELECT number, hash FROM audit WHERE partition = $1 AND number <"
        " (SELECT min(number) FROM audit WHERE partition = $1 AND created_at >= $2) ORDER BY number DESC LIMIT 1",
        (head.partition, horizon),
    )
    last = found.one_or_none()
    if last is None:
        return head.anchor_number, head.anchor_hash
    await connection.exec_driver_sql(
        "DELETE FROM audit WHERE partition = $1 AND number <= $2", (head.partition, last.number)
    )
    return last.number, last.hash


AUDIT: Final = Projection(
    name="audit",
    tables=(tables.audit, tables.audit_heads),
    apply=apply,
    wants=WANTS,
    append_only=(tables.audit,),
)


# Queries.


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain is broken, and how."""

    partition: int
    number: int
    what: str


async def head_of(connection: AsyncConnection, partition: int) -> Head:
    found = await connection.exec_driver_sql(
        "SELECT number, hash, entry_id, anchor_number, anchor_hash FROM audit_heads WHERE partition = $1", (partition,)
    )
    row = found.one_or_none()
    return Head(partition) if row is None else Head(partition, *row)


_SELECT: Final = (
    "SELECT partition, number, entry_id, event_id::text, created_at, account::text, by, action, subject, details"
)


def _row(found: SqlRow[Any]) -> Row:
    """The columns of _SELECT, in its order; more behind them are somebody else's."""
    return Row(*found[: len(fields(Row))])


async def chain(connection: AsyncConnection, partition: int, after: int = 0) -> AsyncIterator[list[tuple[Row, bytes]]]:
    """The rows of a partition with their hashes, oldest first, page by page."""
    while True:
        found = await connection.exec_driver_sql(
            f"{_SELECT}, hash FROM audit WHERE partition = $1 AND number > $2 ORDER BY number LIMIT {_PAGE}",
            (partition, after),
        )
        page = [(_row(row), bytes(row[-1])) for row in found]
        if not page:
            return
        yield page
        after = page[-1][0].number


async def verify(connection: AsyncConnection, partition: int) -> tuple[Head, list[Fault]]:
    """The chain of a partition from its anchor to its head: how far it reaches, and every place where it is broken."""
    head = await head_of(connection, partition)
    number, hash = head.anchor_number, head.anchor_hash
    faults = []
    async for page in chain(connection, partition, after=-1):
        for row, kept in page:
            if row.number != number + 1:
                faults.append(Fault(partition, row.number, f"follows row {number}: rows are missing or put in"))
            elif row.hash(hash) != kept:
                faults.append(Fault(partition, row.number, "it is not what was written, or not behind what it was"))
            number, hash = row.number, kept
    if (number, hash) != (head.number, head.hash):
        faults.append(Fault(partition, number, f"the chain ends here, its head is row {head.number}"))
    return head, faults


async def hash_of(connection: AsyncConnection, partition: int, number: int) -> str | None:
    """The hash of a row in hexadecimal, or of the anchor; None where there is no such row."""
    found = await connection.exec_driver_sql(
        "SELECT hash FROM audit WHERE partition = $1 AND number = $2"
        " UNION ALL SELECT anchor_hash FROM audit_heads WHERE partition = $1 AND anchor_number = $2",
        (partition, number),
    )
    hash = found.scalars().first()
    return None if hash is None else bytes(hash).hex()


async def page(
    connection: AsyncConnection, account: str, *, limit: int, after: str | None, action: str | None = None
) -> list[Row] | None:
    """The changes of one account, newest first, behind the one of this event id; None when the account has no such."""
    behind = None
    if after is not None:
        found = await connection.exec_driver_sql(
            "SELECT number FROM audit WHERE account = $1::uuid AND event_id = $2::uuid", (account, after)
        )
        behind = found.scalar_one_or_none()
        if behind is None:
            return None
    found = await connection.exec_driver_sql(
        f"{_SELECT} FROM audit WHERE account = $1::uuid AND ($2::bigint IS NULL OR number < $2)"
        " AND ($3::text IS NULL OR action = $3) ORDER BY number DESC LIMIT $4",
        (account, behind, action, limit),
    )
    return [_row(row) for row in found]


async def written(
    connection: AsyncConnection, since: datetime | None, until: datetime | None
) -> AsyncIterator[tuple[Row, bytes]]:
    """All rows of that time with their hashes, by partition, in their order."""
    partitions = (await connection.execute(text("SELECT partition FROM audit_heads ORDER BY 1"))).scalars().all()
    for partition in partitions:
        async for rows in chain(connection, partition, after=-1):
            for row, hash in rows:
                if (since is None or row.created_at >= since) and (until is None or row.created_at < until):
                    yield row, hash
