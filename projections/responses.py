"""Responses kept for their account, until it deletes them: the question as it was sent, and the answer, both sealed.

One rule: the answer of a kept response lies here and nowhere else (`requests` leaves it out), so that one deletion is
enough. A deleted one stays as an empty row, which no redelivered event fills again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.completions import CompletionEnded, Outcome
from events.message import sealed_bytes
from events.responses import ResponseDeleted
from projections import tables
from projections.ended import ENDS, ends
from projections.expiring import EXPIRES, stretches
from projections.projection import Projection, Seen

_INSERT: Final = """
INSERT INTO responses (id, user_id, previous, status, http_status, kept, answer, created_at, ended_at, event_id)
SELECT * FROM unnest(
  $1::text[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::bytea[], $7::bytea[], $8::timestamptz[],
  $9::timestamptz[], $10::uuid[]
)
ON CONFLICT DO NOTHING
"""

_DELETE: Final = """
UPDATE responses SET kept = NULL, answer = NULL, deleted_at = gone.at
FROM unnest($1::text[], $2::uuid[], $3::timestamptz[]) AS gone (id, user_id, at)
WHERE responses.id = gone.id AND responses.user_id = gone.user_id AND deleted_at IS NULL
"""


def is_kept(ended: CompletionEnded) -> bool:
    """Whether this end belongs to a response that its account wants kept."""
    return ended.wire == "responses" and ended.kept is not None


_EXPIRE: Final = """
UPDATE responses SET kept = NULL, answer = NULL, deleted_at = $3
WHERE user_id = $1 AND ended_at < $2 AND deleted_at IS NULL
"""
_FORGET: Final = "DELETE FROM responses WHERE user_id = $1 AND ended_at < $2"


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    for some, expired in stretches(batch):
        await _add(connection, some)
        if expired is not None:
            said, fact = expired
            await connection.exec_driver_sql(_FORGET, (said.account, fact.requests_before))
            if fact.before is not None:
                await connection.exec_driver_sql(_EXPIRE, (said.account, fact.before, said.at))


async def _add(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    rows = [
        (
            said.subject,
            said.account,
            ended.previous,
            ended.outcome,
            ended.http_status,
            sealed_bytes(ended.kept or ""),
            sealed_bytes(ended.answer),
            ended.accepted_at,
            said.at,
            said.id,
        )
        for _, said, ended in ends(batch)
        if is_kept(ended)
    ]
    if rows:
        await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))
    # A response is deleted behind its end: what this batch has brought can be deleted by it too.
    deleted = [
        (said.subject, said.account, said.at)
        for said in (seen.envelope for seen in batch)
        if isinstance(said.body, ResponseDeleted)
    ]
    if deleted:
        await connection.exec_driver_sql(_DELETE, tuple(zip(*deleted, strict=True)))


RESPONSES: Final = Projection(
    name="responses",
    tables=(tables.responses,),
    apply=apply,
    wants=ENDS | EXPIRES | {ResponseDeleted.type},
    account_column="user_id",
)


# Queries.


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One kept response that has ended. `kept` and `answer` are sealed."""

    id: str
    previous: str | None
    status: Outcome
    http_status: int
    kept: bytes = field(repr=False)
    answer: bytes = field(repr=False)


_CHAIN: Final = """
WITH RECURSIVE chain AS (
  SELECT id, previous, status, http_status, kept, answer, 1 AS place FROM responses
  WHERE id = :id AND user_id = CAST(:account AS uuid) AND deleted_at IS NULL
  UNION ALL
  SELECT before.id, before.previous, before.status, before.http_status, before.kept, before.answer, place + 1
  FROM chain JOIN responses AS before ON before.id = chain.previous
  WHERE place < :most AND before.user_id = CAST(:account AS uuid) AND before.deleted_at IS NULL
)
SELECT id, previous, status, http_status, kept, answer FROM chain ORDER BY place
"""


def _read(row: Row[Any]) -> ResponseRow:  # Any: the driver's row has no types of its own
    return ResponseRow(**row._asdict())


async def chain(connection: AsyncConnection, account: str, id: str, *, most: int) -> list[ResponseRow]:
    """A response and those it goes on from, newest first, at most so many; empty when it is not known or deleted."""
    found = await connection.execute(text(_CHAIN), {"account": account, "id": id, "most": most})
    return [_read(row) for row in found]
