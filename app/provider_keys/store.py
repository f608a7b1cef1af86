"""Customers' provider keys as rows of Postgres, sealed by their account's data key.

One rule: a change and the fact that tells it commit in one transaction, and a key is never read back but by a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg

from app.database import Connection
from app.ids import new_id
from app.outbox import enqueue
from events.completions import ProviderKey
from events.message import Change, Envelope
from events.provider_keys import ProviderKeyRemoved, ProviderKeyStored
from handlers.ports import Box

_PLACE: Final = "provider_keys.sealed"

_HINTED_CHARACTERS_MIN: Final = 20
"""Of a shorter key, eight characters would tell too much."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A key as its account sees it."""

    provider: str
    version: str
    hint: str
    """Its first and its last four characters, at most."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SealedKey:
    provider: str
    version: str
    sealed: bytes = field(repr=False)

    def open(self, box: Box) -> str:
        """The key itself. Raises `app.vault.VaultRefused`."""
        return box.open(_PLACE, f"{self.provider} {self.version}", self.sealed).decode()


async def put(connection: Connection, account: str, box: Box, provider: str, key: str, *, by: str) -> Stored:
    """Store this key in the place of what was there. `box` is the account's."""
    version = new_id()
    async with connection.transaction():
        row = await connection.fetchrow(
            """INSERT INTO provider_keys (account, provider, version, sealed, hint) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (account, provider) DO UPDATE SET version = EXCLUDED.version, sealed = EXCLUDED.sealed,
            hint = EXCLUDED.hint, updated_at = now()
            RETURNING provider, version, hint, created_at, updated_at""",
            UUID(account),
            provider,
            UUID(version),
            box.seal(_PLACE, f"{provider} {version}", key.encode()),
            hint_of(key),
        )
        await _say(connection, account, ProviderKeyStored(provider=provider, key_version=version, by=by))
    assert row is not None
    return _stored(row)


async def remove(connection: Connection, account: str, provider: str, *, by: str) -> bool:
    """Whether there was one."""
    async with connection.transaction():
        version = await connection.fetchval(
            "DELETE FROM provider_keys WHERE account = $1 AND provider = $2 RETURNING version", UUID(account), provider
        )
        if version is not None:
            await _say(connection, account, ProviderKeyRemoved(provider=provider, key_version=str(version), by=by))
    return version is not None


async def all_of(connection: Connection, account: str) -> list[Stored]:
    """By the provider's name."""
    rows = await connection.fetch(
        """SELECT provider, version, hint, created_at, updated_at FROM provider_keys WHERE account = $1
        ORDER BY provider""",
        UUID(account),
    )
    return [_stored(row) for row in rows]


async def sealed_of(connection: Connection, account: str) -> Mapping[str, SealedKey]:
    """Provider → its key, for a worker."""
    rows = await connection.fetch(
        "SELECT provider, version, sealed FROM provider_keys WHERE account = $1", UUID(account)
    )
    return {row["provider"]: SealedKey(row["provider"], str(row["version"]), row["sealed"]) for row in rows}


def keys_of(account: str) -> str:
    """SQL for a look-up that has the account in this column: what `versions` reads."""
    return f"ARRAY(SELECT provider || ' ' || version FROM provider_keys WHERE account = {account})"  # noqa: S608  # ours


def versions(found: Iterable[str]) -> tuple[ProviderKey, ...]:
    """What `keys_of` selects, as an identity and a command carry it."""
    return tuple(
        ProviderKey(provider=provider, version=version)
        for provider, version in (each.split(" ", 1) for each in sorted(found))
    )


def hint_of(key: str) -> str:
    """Enough to tell one's keys apart, and of no use to anybody else."""
    return f"{key[:4]}…{key[-4:]}" if len(key) >= _HINTED_CHARACTERS_MIN else "…"


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(row["provider"], str(row["version"]), row["hint"], row["created_at"], row["updated_at"])


async def _say(connection: Connection, account: str, fact: Change) -> None:
    said = Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account, subject=account)
    await enqueue(connection, said)
