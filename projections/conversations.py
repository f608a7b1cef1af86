"""Conversations and their messages, sealed one by one; each belongs to one account, whatever its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.completions import CompletionFinished
from events.message import sealed_bytes
from projections import tables
from projections.expiring import EXPIRES, stretches
from projections.projection import Projection, Seen

_INSERT: Final = """
WITH added AS (
  INSERT INTO conversation_messages (
    user_id, conversation_id, created_at, event_id, position, turn_id, role, content, request_id
  )
  SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[], $5::smallint[], $6::text[], $7::text[], $8::bytea[],
    $9::text[]
  )
  ON CONFLICT DO NOTHING
  RETURNING user_id, conversation_id, created_at
)
INSERT INTO conversations AS kept (user_id, id, message_count, last_message_at, created_at, updated_at)
SELECT user_id, conversation_id, count(*), max(created_at), min(created_at), max(created_at)
FROM added GROUP BY user_id, conversation_id
ON CONFLICT (user_id, id) DO UPDATE SET
  message_count = kept.message_count + excluded.message_count,
  last_message_at = greatest(kept.last_message_at, excluded.last_message_at),
  created_at = least(kept.created_at, excluded.created_at),
  updated_at = greatest(kept.updated_at, excluded.updated_at)
"""
"""Only messages that were not there before are counted, so a redelivered event adds nothing."""


_EXPIRE: Final = """
WITH gone AS (DELETE FROM conversations WHERE user_id = $1 AND last_message_at < $2 RETURNING id)
DELETE FROM conversation_messages WHERE user_id = $1 AND conversation_id IN (SELECT id FROM gone)
"""


async def apply(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    for some, expired in stretches(batch):
        await _add(connection, some)
        if expired is not None and expired[1].before is not None:
            await connection.exec_driver_sql(_EXPIRE, (expired[0].account, expired[1].before))


async def _add(connection: AsyncConnection, batch: Sequence[Seen]) -> None:
    rows = [
        (
            said.account,
            ended.conversation.conversation,
            said.at,
            said.id,
            position,
            turn.id,
            turn.role,
            sealed_bytes(turn.content),
            said.subject,
        )
        for said, ended in ((seen.envelope, seen.envelope.body) for seen in batch)
        if isinstance(ended, CompletionFinished) and ended.conversation
        for position, turn in enumerate(ended.conversation.turns)
    ]
    if rows:
        await connection.exec_driver_sql(_INSERT, tuple(zip(*rows, strict=True)))


CONVERSATIONS: Final = Projection(
    name="conversations",
    tables=(tables.conversations, tables.conversation_messages),
    apply=apply,
    wants=EXPIRES | {CompletionFinished.type},
    account_column="user_id",
)


# Queries.


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `content` is sealed under its `turn_id`."""

    turn_id: str
    role: str
    content: bytes = field(repr=False)
    request_id: str
    at: datetime


async def messages(connection: AsyncConnection, account: str, conversation: str, *, newest: int) -> list[Message]:
    """The last `newest` messages of an account's conversation, oldest first; none when there is no such conversation."""
    found = await connection.execute(
        text(
            "SELECT turn_id, role, content, request_id, created_at FROM conversation_messages"
            " WHERE user_id = CAST(:account AS uuid) AND conversation_id = :conversation"
            " ORDER BY created_at DESC, event_id DESC, position DESC LIMIT :newest"
        ),
        {"account": account, "conversation": conversation, "newest": newest},
    )
    return [Message(*row) for row in reversed(found.all())]
