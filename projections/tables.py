"""The tables that projections own, as the migrations make them; a test compares the two.

One rule: none refers to `users` or `api_keys`. They are made anew from the log, which still tells of erased accounts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()

Value = TypeVar("Value")


def _needed(name: str, kind: TypeEngine[Value]) -> Column[Value]:
    return Column(name, kind, nullable=False)


def _time(name: str) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _counted(name: str) -> Column[int]:
    """A column that a projector of a former release does not know."""
    return Column(name, BigInteger(), nullable=False, server_default=text("0"))


requests: Final = Table(
    "requests",
    metadata,
    _needed("id", Text()),
    _needed("user_id", UUID()),
    _needed("api_key_id", UUID()),
    _needed("endpoint", Text()),
    _needed("wire", Text()),
    _needed("tier", Text()),
    _needed("asked_model", Text()),
    Column("model", Text()),
    Column("provider", Text()),
    _needed("stream", Boolean()),
    _needed("status", Text()),
    _needed("http_status", Integer()),
    Column("finish_reason", Text()),
    Column("why", Text()),
    Column("conversation_id", Text()),
    _needed("input_tokens", BigInteger()),
    _needed("cached_input_tokens", BigInteger()),
    _needed("cache_write_tokens", BigInteger()),
    _needed("output_tokens", BigInteger()),
    _needed("cost_usd", Numeric(20, 9)),
    Column("price_as_of", Text()),
    _needed("usage_source", Text()),
    _needed("billable", Boolean()),
    _needed("latency_ms", BigInteger()),
    Column("ttft_ms", BigInteger()),
    _needed("attempts", JSONB()),
    Column("routing", JSONB()),
    _needed("answer", LargeBinary()),
    _time("created_at"),
    _time("ended_at"),
    _needed("event_id", UUID()),
    _needed("partition", SmallInteger()),
    _needed("entry_id", Text()),
    PrimaryKeyConstraint("id", name="requests_pkey"),
    CheckConstraint("status IN ('completed', 'failed', 'cancelled')", name="requests_status_check"),
    Index("idx_requests_user_id", "user_id", text("id DESC")),
    Index("idx_requests_user_model", "user_id", "asked_model", text("id DESC")),
)

responses: Final = Table(
    "responses",
    metadata,
    _needed("id", Text()),
    _needed("user_id", UUID()),
    Column("previous", Text()),
    _needed("status", Text()),
    _needed("http_status", Integer()),
    Column("kept", LargeBinary()),
    Column("answer", LargeBinary()),
    _time("created_at"),
    _time("ended_at"),
    Column("deleted_at", DateTime(timezone=True)),
    _needed("event_id", UUID()),
    PrimaryKeyConstraint("id", name="responses_pkey"),
    CheckConstraint("status IN ('completed', 'failed', 'cancelled')", name="responses_status_check"),
    Index("idx_responses_user_id", "user_id", text("id DESC")),
)

usage: Final = Table(
    "usage",
    metadata,
    _needed("id", UUID()),
    _needed("user_id", UUID()),
    _needed("api_key_id", UUID()),
    _needed("endpoint", Text()),
    _needed("model", Text()),
    _needed("provider", Text()),
    _needed("prompt_tokens", BigInteger()),
    _needed("completion_tokens", BigInteger()),
    _needed("total_tokens", BigInteger()),
    _needed("cost_usd", Numeric(20, 9)),
    _needed("latency_ms", BigInteger()),
    _needed("status", Text()),
    _time("created_at"),
    _needed("request_id", Text()),
    _needed("event_id", UUID()),
    _needed("attempt_count", Integer()),
    _needed("usage_source", Text()),
    _needed("cached", Boolean()),
    _counted("cached_input_tokens"),
    _counted("cache_write_tokens"),
    Column("metered", JSONB()),
    Column("price_version", Text()),
    Column("price_as_of", Text()),
    Column("saved_usd", Numeric(20, 9), nullable=False, server_default=text("0")),
    Column("question_digest", Text()),
    Column("own_key", Boolean(), nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("event_id", "created_at", name="usage_pkey"),
    CheckConstraint("cost_usd >= 0", name="usage_cost_usd_check"),
    CheckConstraint("status IN ('success', 'error', 'cancelled')", name="usage_status_check"),
    Index("idx_usage_user_id", "user_id", text("created_at DESC")),
    Index("idx_usage_api_key_id", "api_key_id", text("created_at DESC")),
    Index("idx_usage_created_at", "created_at"),
    Index("idx_usage_request_id", "request_id"),
    postgresql_partition_by="RANGE (created_at)",
)

usage_adjustments: Final = Table(
    "usage_adjustments",
    metadata,
    _needed("usage_event_id", UUID()),
    _needed("follows", UUID()),
    _needed("event_id", UUID()),
    _needed("request_id", Text()),
    _needed("user_id", UUID()),
    _needed("api_key_id", UUID()),
    _needed("provider", Text()),
    _needed("model", Text()),
    _needed("price_version", Text()),
    _needed("price_as_of", Text()),
    _needed("amount_usd", Numeric(20, 9)),
    _needed("cost_usd", Numeric(20, 9)),
    _time("used_at"),
    _time("created_at"),
    PrimaryKeyConstraint("usage_event_id", "follows", name="usage_adjustments_pkey"),
    CheckConstraint("cost_usd >= 0", name="usage_adjustments_cost_usd_check"),
    Index("idx_usage_adjustments_user_id", "user_id", "used_at"),
    Index("idx_usage_adjustments_used_at", "used_at"),
)

conversations: Final = Table(
    "conversations",
    metadata,
    _needed("id", Text()),
    _needed("user_id", UUID()),
    Column("title", String(255)),
    Column("metadata", JSONB()),
    _needed("message_count", Integer()),
    _time("last_message_at"),
    _time("created_at"),
    _time("updated_at"),
    PrimaryKeyConstraint("user_id", "id", name="conversations_pkey"),
    Index("idx_conversations_last_message_at", "user_id", text("last_message_at DESC"), text("id DESC")),
)

conversation_messages: Final = Table(
    "conversation_messages",
    metadata,
    _needed("user_id", UUID()),
    _needed("conversation_id", Text()),
    _time("created_at"),
    _needed("event_id", UUID()),
    _needed("position", SmallInteger()),
    _needed("turn_id", Text()),
    _needed("role", Text()),
    _needed("content", LargeBinary()),
    _needed("request_id", Text()),
    PrimaryKeyConstraint(
        "user_id", "conversation_id", "created_at", "event_id", "position", name="conversation_messages_pkey"
    ),
)

audit: Final = Table(
    "audit",
    metadata,
    _needed("partition", SmallInteger()),
    _needed("number", BigInteger()),
    _needed("entry_id", Text()),
    _needed("event_id", UUID()),
    _time("created_at"),
    _needed("account", UUID()),
    Column("by", Text()),
    _needed("action", Text()),
    _needed("subject", Text()),
    _needed("details", Text()),
    _needed("hash", LargeBinary()),
    PrimaryKeyConstraint("partition", "number", name="audit_pkey"),
    UniqueConstraint("event_id", name="audit_event_id_key"),
    Index("idx_audit_account", "account", text("number DESC")),
)

audit_heads: Final = Table(
    "audit_heads",
    metadata,
    _needed("partition", SmallInteger()),
    _needed("number", BigInteger()),
    _needed("hash", LargeBinary()),
    _needed("entry_id", Text()),
    _needed("anchor_number", BigInteger()),
    _needed("anchor_hash", LargeBinary()),
    PrimaryKeyConstraint("partition", name="audit_heads_pkey"),
)
"""How far each partition's chain reaches, and where it begins now that older rows have gone."""

erased_accounts: Final = Table(
    "erased_accounts",
    metadata,
    _needed("account", UUID()),
    _time("erased_at"),
    _needed("event_id", UUID()),
    PrimaryKeyConstraint("account", name="erased_accounts_pkey"),
)
"""Who is erased, as the log tells it."""

archive: Final = Table(
    "archive",
    metadata,
    _needed("partition", SmallInteger()),
    _needed("first_id", Text()),
    _needed("last_id", Text()),
    _needed("events", Integer()),
    _needed("sha256", LargeBinary()),
    _needed("payload", LargeBinary()),
    _time("created_at"),
    PrimaryKeyConstraint("partition", "created_at", "first_id", name="archive_pkey"),
    CheckConstraint("events > 0", name="archive_events_check"),
    postgresql_partition_by="RANGE (created_at)",
)

checkpoints: Final = Table(
    "checkpoints",
    metadata,
    _needed("projection", Text()),
    _needed("partition", SmallInteger()),
    _needed("entry_id", Text()),
    PrimaryKeyConstraint("projection", "partition", name="checkpoints_pkey"),
)
"""The last entry that a projection has applied; it moves in the transaction that writes the rows."""

unreadable: Final = Table(
    "unreadable",
    metadata,
    _needed("projection", Text()),
    _needed("partition", SmallInteger()),
    _needed("entry_id", Text()),
    _needed("reason", Text()),
    _needed("raw", LargeBinary()),
    PrimaryKeyConstraint("projection", "partition", "entry_id", name="unreadable_pkey"),
)
"""Entries that a projection had to pass by."""
