"""Changes to users and API keys. One rule: a change and the fact that tells it commit in one transaction.

What others remember of a key is dropped by `app.changes.tell` after that commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app import own_keys
from app.api_keys import key_hash, key_prefix, well_formed
from app.database import Connection, connected
from app.identity import OPERATOR, ORDINARY_SCOPES, SCOPES
from app.ids import new_id
from app.outbox import enqueue
from events.accounts import KeyCreated, KeyRevoked, UserCreated
from events.completions import Tier
from events.message import Envelope, Event
from handlers.rules.key_rights import Network

_EMAIL: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]|localhost)"
)
"""What HTML calls a valid address, with a domain that has a dot in it, or this very machine."""

_EMAIL_CHARACTERS_MAX: Final = 254
"""RFC 5321 §4.5.3.1.3, less the two brackets."""

_NAME_CHARACTERS_MAX: Final = 255


class AccountRefused(Exception):
    """The change makes no sense; the message says why, for the person who asked for it."""


@dataclass(frozen=True, slots=True)
class User:
    id: str
    email: str
    tier: Tier
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as lists show it."""

    id: str
    email: str | None
    """None: a team's own."""
    prefix: str
    name: str | None
    scopes: tuple[str, ...]
    rate_limit_override: int | None
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None
    models: tuple[str, ...] | None = None
    """None: all."""
    allowed_ips: tuple[str, ...] | None = None
    """None: from everywhere."""
    replaced_by: str | None = None
    """The key that it was rotated to."""
    team: str | None = None
    """The name of the team that it acts for."""


@dataclass(frozen=True, slots=True)
class Revoked:
    key: ApiKey
    key_hash: str
    """What to tell `app.changes`."""


async def create_user(connection: Connection, email: str, tier: Tier = "free") -> User:
    """Raises AccountRefused when the address is none, or taken."""
    address = email_address(email)
    async with connection.transaction():
        row = await _insert_user(connection, address, tier)
    if row is None:
        raise AccountRefused(f"{address} is a user already")
    return _user(row)


async def create_key(
    connection: Connection,
    email: str,
    plain_key: str,
    *,
    name: str | None = None,
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    rate_limit_override: int | None = None,
    models: Sequence[str] | None = None,
    allowed_ips: Sequence[Network] | None = None,
) -> ApiKey:
    """Give a user the key `plain_key`, of which only the hash and the prefix are kept. Raises AccountRefused.

    Without `scopes` it may do what an ordinary user may.
    """
    address = email_address(email)
    if rate_limit_override is not None and rate_limit_override < 1:
        raise AccountRefused("a rate limit is at least one request a minute")
    async with connection.transaction():
        user_id = await connection.fetchval("SELECT id FROM users WHERE email = $1", address)
        if user_id is None:
            raise AccountRefused(f"{address} is no user")
        id = await _insert_key(connection, user_id, plain_key, name, scopes, expires_at, rate_limit_override)
        if id is None:
            raise AccountRefused("this key exists already")
        if models or allowed_ips:
            await connection.execute(
                "UPDATE api_keys SET models = $2, allowed_ips = $3 WHERE id = $1",
                id,
                sorted(set(models)) if models else None,
                list(allowed_ips) if allowed_ips else None,
            )
            await own_keys.say_bounds(connection, str(user_id), str(id), by=OPERATOR)
        [row] = await connection.fetch(f"{_SELECT_KEYS} WHERE k.id = $1", id)
    return _key(row)


async def revoke_key(connection: Connection, which: str) -> Revoked:
    """Revoke the key with this id or prefix, or this key itself. Doing it again changes nothing.

    Raises AccountRefused when there is no such key, or more than one.
    """
    where, value = _named(which)
    async with connection.transaction():
        rows = await connection.fetch(f"{_SELECT_KEYS} WHERE {where} FOR UPDATE OF k", value)
        alive = [row for row in rows if row["revoked_at"] is None]
        match alive or rows:
            case []:
                raise AccountRefused("there is no such key")
            case [row]:
                pass
            case several:
                ids = ", ".join(str(row["id"]) for row in several)
                raise AccountRefused(f"{len(several)} keys begin so, name one by its id: {ids}")
        if row["revoked_at"] is None:
            await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", row["id"])
            fact = KeyRevoked(api_key_id=str(row["id"]), key_hash=row["key_hash"], by=OPERATOR)
            await _say(connection, fact, account=row["account"], subject=row["id"])
            [row] = await connection.fetch(f"{_SELECT_KEYS} WHERE k.id = $1", row["id"])
    return Revoked(_key(row), row["key_hash"])


async def rotate_key(connection: Connection, which: str, plain_key: str, grace: timedelta) -> tuple[ApiKey, str]:
    """A new key with the rights of this one, which goes on for the grace time → the new key, and the hash of the old one,
    of which `app.changes` is to be told.

    Raises AccountRefused when there is no such key, more than one, or it is over or rotated already.
    """
    where, value = _named(which)
    rows = await connection.fetch(f"{_SELECT_KEYS} WHERE {where} AND k.replaced_by IS NULL", value)
    if len(rows) != 1:
        raise AccountRefused("there is no such key" if not rows else "several keys begin so, name one by its id")
    [row] = rows
    try:
        old, made = await own_keys.rotate_for(connection, str(row["account"]), str(row["id"]), plain_key, grace)
    except (own_keys.KeyEnded, own_keys.KeyUnknown):
        raise AccountRefused("this key is revoked, expired or rotated already") from None
    [new] = await connection.fetch(f"{_SELECT_KEYS} WHERE k.id = $1", UUID(made.id))
    return _key(new), old.key_hash


async def list_users(connection: Connection) -> list[User]:
    rows = await connection.fetch("SELECT id, email, tier, status, created_at FROM users ORDER BY created_at, id")
    return [_user(row) for row in rows]


async def list_keys(connection: Connection, email: str | None = None) -> list[ApiKey]:
    """All keys, or one user's; newest last, revoked ones too."""
    address = None if email is None else email_address(email)
    rows = await connection.fetch(
        f"{_SELECT_KEYS} WHERE $1::text IS NULL OR u.email = $1 ORDER BY k.created_at, k.id", address
    )
    return [_key(row) for row in rows]


async def ensure_user(database_url: str, email: str, tier: Tier) -> str:
    """The id of the user with this address; made when there is none. An existing user stays as he is."""
    address = email_address(email)
    async with connected(database_url) as connection, connection.transaction():
        row = await _insert_user(connection, address, tier)
        id = row["id"] if row else await connection.fetchval("SELECT id FROM users WHERE email = $1", address)
    return str(id)


async def ensure_key(
    database_url: str, user_id: str, plain_key: str, *, name: str, scopes: Sequence[str] | None = None
) -> None:
    """Give the user this key unless it exists; an existing one stays as it is, a revoked one stays revoked."""
    async with connected(database_url) as connection, connection.transaction():
        await _insert_key(connection, UUID(user_id), plain_key, name, scopes, None, None)


def email_address(text: str) -> str:
    """The address in the one form in which it is kept: lower case. Raises AccountRefused."""
    address = text.strip()
    if len(address) > _EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(address):
        raise AccountRefused(f"{text!r} is not an e-mail address")
    return address.lower()


_SELECT_KEYS: Final = """SELECT k.id, k.account, k.key_hash, k.key_prefix, k.name, k.scopes, k.rate_limit_override,
k.expires_at, k.last_used_at, k.created_at, k.revoked_at, k.models, k.allowed_ips,
k.replaced_by, u.email, o.name AS team FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
LEFT JOIN organizations o ON o.id = k.organization_id"""


async def _insert_user(connection: Connection, address: str, tier: Tier) -> asyncpg.Record | None:
    """None when the address is taken."""
    row = await connection.fetchrow(
        """INSERT INTO users (id, email, tier, status) VALUES ($1, $2, $3, 'active')
        ON CONFLICT (email) DO NOTHING RETURNING id, email, tier, status, created_at""",
        UUID(new_id()),
        address,
        tier,
    )
    if row is not None:
        await _say(connection, UserCreated(tier=tier, by=OPERATOR), account=row["id"], subject=row["id"])
    return row


async def _insert_key(
    connection: Connection,
    user_id: UUID,
    plain_key: str,
    name: str | None,
    scopes: Sequence[str] | None,
    expires_at: datetime | None,
    rate_limit_override: int | None,
) -> UUID | None:
    """None when the key exists."""
    if not well_formed(plain_key):
        raise AccountRefused("this is not an API key of ours")
    if name is not None and (len(name) > _NAME_CHARACTERS_MAX or not name.isprintable()):
        raise AccountRefused(f"a key's name is at most {_NAME_CHARACTERS_MAX} printable characters")
    rights = tuple(dict.fromkeys(ORDINARY_SCOPES if scopes is None else scopes))
    if strange := [scope for scope in rights if scope not in SCOPES]:
        raise AccountRefused(f"no such scope: {', '.join(strange)}; there are {', '.join(SCOPES)}")
    id: UUID | None = await connection.fetchval(
        """INSERT INTO api_keys (id, user_id, key_hash, key_prefix, name, scopes, rate_limit_override, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (key_hash) DO NOTHING RETURNING id""",
        UUID(new_id()),
        user_id,
        key_hash(plain_key),
        key_prefix(plain_key),
        name,
        list(rights),
        rate_limit_override,
        expires_at,
    )
    if id is not None:
        fact = KeyCreated(api_key_id=str(id), prefix=key_prefix(plain_key), scopes=rights, by=OPERATOR)
        await _say(connection, fact, account=user_id, subject=id)
    return id


async def _say(connection: Connection, fact: Event, *, account: UUID, subject: UUID) -> None:
    envelope = Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=str(account), subject=str(subject))
    await enqueue(connection, envelope)


def _named(which: str) -> tuple[str, UUID | str]:
    """What the operator typed → a condition on the key's row and its value."""
    text = which.strip()
    try:
        return "k.id = $1", UUID(text)
    except ValueError:
        pass
    if well_formed(text):
        return "k.key_hash = $1", key_hash(text)
    return "k.key_prefix = $1", text.rstrip(".") + "..."


def _user(row: asyncpg.Record) -> User:
    return User(str(row["id"]), row["email"], row["tier"], row["status"], row["created_at"])


def _key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(
        id=str(row["id"]),
        email=row["email"],
        prefix=row["key_prefix"],
        name=row["name"],
        scopes=ORDINARY_SCOPES if row["scopes"] is None else tuple(row["scopes"]),
        rate_limit_override=row["rate_limit_override"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        models=None if row["models"] is None else tuple(row["models"]),
        allowed_ips=None if row["allowed_ips"] is None else tuple(str(each) for each in row["allowed_ips"]),
        replaced_by=None if row["replaced_by"] is None else str(row["replaced_by"]),
        team=row["team"],
    )
