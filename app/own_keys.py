"""The keys of one account, in the hands of whoever may manage them.

One rule: a key never holds a right that its maker lacks, and another account's key is as unknown as one that never was. In a
team there are keys of its members, which act in their member's role and end with it, and the team's own, which have a role
that their maker may give and stay when he leaves. Nobody is handed a key that acts as somebody else.
A change and the fact that tells it commit in one transaction; what others remember of a key is dropped after that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg

from app.api_keys import key_hash, key_prefix
from app.database import Connection
from app.identity import KEYS_SCOPE, OPERATOR, OPERATOR_SCOPE, ORDINARY_SCOPES, SCOPES, Identity
from app.ids import new_id
from app.outbox import enqueue
from app.teams.standing import RoleLacking, role_now
from events.accounts import KeyChanged, KeyCreated, KeyRevoked
from events.message import Envelope, Event
from handlers.rules.key_rights import Field, Rights, excess
from handlers.rules.roles import Role, may, may_give

KEYS_MAX: Final = 500
"""Keys of one account that are not revoked: more than any team has programs, few enough for a page or two."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    id: str
    prefix: str
    key_hash: str
    name: str | None
    rights: Rights
    rate_limit: int | None
    """Requests a minute, from the operator, instead of the account's; None: the account's."""
    own_rate_limit: int | None
    """Requests a minute, beside the account's; None: no limit of its own."""
    counted_as: str | None
    """The key whose rate and purse it shares; None: its own."""
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    person: str | None
    """Whose it is; None: the team's own."""
    role: Role | None
    """What a team's own key is in the team; None for a person's, who has a role himself."""


class KeyUnknown(Exception):
    """The account has no such key."""


class KeyRefused(Exception):
    """What is wanted makes no sense; `field` is where, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class RightLacking(Exception):
    """The maker has not got this right himself."""

    def __init__(self, field: Field | Literal["role", "rate_limit"]) -> None:
        super().__init__(field)
        self.field = field


class MakerEnded(Exception):
    """The key that asks for this opens nothing any more, or may not do this any more."""


class KeyEnded(Exception):
    """The key is revoked, expired or rotated: it is not changed any more."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes or changes a key, as the tables have him now."""

    rights: Rights
    role: Role
    rate_limit: int | None
    own_rate_limit: int | None
    counted_as: str | None
    """Whose rate and purse the keys that he makes share: his own key's where it is held to any, or they would be free of it."""


async def make(
    connection: Connection,
    maker: Identity,
    plain_key: str,
    name: str | None,
    rights: Rights,
    team_role: Role | None = None,
    own_rate_limit: int | None = None,
) -> OwnKey:
    """A new key of the maker's account: his own, or with `team_role` the team's. Where the maker's key is held to a rate or
    a budget of its own, the new one shares them.

    Raises RightLacking, RoleLacking, KeyRefused, MakerEnded.
    """
    _sensible(rights)
    if team_role is not None and maker.account == maker.person:
        raise KeyRefused("owner", "This account is a person's, and has no team's keys.")
    if team_role is None and maker.person is None:
        raise KeyRefused("owner", "A team's key makes keys of the team alone.")
    async with connection.transaction():
        now = await _maker_now(connection, maker)
        _within(now.rights, rights)
        if team_role is not None:
            _may_hand_out(now, team_role)
        await _room(connection, maker.account)
        if now.counted_as is not None and own_rate_limit is not None:
            raise RightLacking("rate_limit")
        own = now.own_rate_limit if now.counted_as is not None else own_rate_limit
        new = _New(plain_key, name, rights, now.rate_limit, own, now.counted_as, team_role, maker.person)
        return await _insert(connection, maker.account, maker.by, new)


async def find(connection: Connection, account: str, id: str) -> OwnKey:
    """Raises KeyUnknown."""
    return await _get(connection, account, id)


async def page(connection: Connection, account: str, *, limit: int, after: str | None) -> list[OwnKey]:
    """Newest first, behind the key `after`. Revoked ones too. Raises KeyUnknown for an `after` that there is not."""
    last = None if after is None else await _get(connection, account, after)
    rows = await connection.fetch(
        f"""{_SELECT} WHERE account = $1 AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
        ORDER BY created_at DESC, id DESC LIMIT $4""",
        UUID(account),
        last.created_at if last else None,
        UUID(last.id) if last else None,
        limit,
    )
    return [_key(row) for row in rows]


async def change(
    connection: Connection,
    maker: Identity,
    id: str,
    *,
    name: str | None,
    rights: Rights,
    own_rate_limit: int | None = None,
    fields: frozenset[str],
) -> OwnKey:
    """Write these fields of the key anew: `name`, `rate_limit`, and those of its rights. The others stay.

    Raises KeyUnknown, KeyEnded, RightLacking (also for a key that can do more than the maker), RoleLacking, KeyRefused,
    MakerEnded.
    """
    async with connection.transaction():
        now = await _maker_now(connection, maker)
        found = await _get(connection, maker.account, id, lock=True)
        _reaches(now, maker, found)
        _alive(found)
        _within(now.rights, found.rights)
        old = found.rights
        wanted = Rights(
            rights.scopes if "scopes" in fields else old.scopes,
            rights.models if "models" in fields else old.models,
            rights.allowed_ips if "allowed_ips" in fields else old.allowed_ips,
            rights.expires_at if "expires_at" in fields else old.expires_at,
            rights.allowed_origins if "allowed_origins" in fields else old.allowed_origins,
        )
        _sensible(wanted)
        _within(now.rights, wanted)
        if "rate_limit" in fields and now.counted_as is not None:
            raise RightLacking("rate_limit")
        changed = replace(
            found,
            rights=wanted,
            name=name if "name" in fields else found.name,
            own_rate_limit=own_rate_limit if "rate_limit" in fields else found.own_rate_limit,
        )
        if changed != found:
            await _write(connection, maker.account, maker.by, changed)
        return changed


async def rotate(
    connection: Connection, maker: Identity, id: str, plain_key: str, grace: timedelta
) -> tuple[OwnKey, OwnKey]:
    """A new key in the place of this one, which goes on for the grace time → the old one and the new one.

    Both share one rate limit. Raises KeyUnknown, KeyEnded, RightLacking, RoleLacking (also for another member's key, whoever
    asks), KeyRefused, MakerEnded.
    """
    async with connection.transaction():
        now = await _maker_now(connection, maker)
        found = await _get(connection, maker.account, id, lock=True)
        _reaches(now, maker, found)
        if found.person is not None and found.person != maker.person:
            raise RoleLacking("keys.write")
        _alive(found)
        _within(now.rights, found.rights)
        if now.counted_as not in (None, found.counted_as or found.id):
            raise RightLacking("rate_limit")
        await _room(connection, maker.account)
        return await _replace(connection, maker.account, maker.by, found, plain_key, grace)


async def rotate_for(
    connection: Connection, account: str, id: str, plain_key: str, grace: timedelta
) -> tuple[OwnKey, OwnKey]:
    """The same by the operator's own hand, who needs no key for it. Raises KeyUnknown, KeyEnded."""
    async with connection.transaction():
        found = await _get(connection, account, id, lock=True)
        _alive(found)
        return await _replace(connection, account, OPERATOR, found, plain_key, grace)


async def revoke(connection: Connection, maker: Identity, id: str) -> OwnKey:
    """From now on it opens nothing. Doing it again changes nothing.

    Raises KeyUnknown, RoleLacking, MakerEnded.
    """
    async with connection.transaction():
        now = await _maker_now(connection, maker)
        found = await _get(connection, maker.account, id, lock=True)
        if found.person != maker.person and not may(now.role, "keys.manage"):
            raise RoleLacking("keys.manage")
        account, by = maker.account, maker.by
        if found.revoked_at is not None:
            return found
        at: datetime = await connection.fetchval(
            "UPDATE api_keys SET revoked_at = now() WHERE id = $1 RETURNING revoked_at", UUID(found.id)
        )
        await _say(connection, account, found.id, KeyRevoked(api_key_id=found.id, key_hash=found.key_hash, by=by))
        return replace(found, revoked_at=at)


async def say_bounds(connection: Connection, account: str, id: str, *, by: str) -> None:
    """The fact of what a key may do, within the transaction that wrote it. Raises KeyUnknown."""
    await _say(connection, account, id, _changed(await _get(connection, account, id), by))


def status_of(key: OwnKey) -> Literal["active", "expired", "revoked"]:
    if key.revoked_at is not None:
        return "revoked"
    expires_at = key.rights.expires_at
    return "expired" if expires_at is not None and expires_at <= datetime.now(UTC) else "active"


def default_scopes(maker: Identity) -> frozenset[str]:
    """What a key may do when its maker named no scopes."""
    return frozenset(scope for scope in ORDINARY_SCOPES if maker.has(scope))


_SELECT: Final = """SELECT id, user_id, key_hash, key_prefix, name, scopes, models, allowed_ips, rate_limit_override,
own_rate_limit, counted_as, expires_at, last_used_at, created_at, revoked_at, replaced_by, role, allowed_origins
FROM api_keys"""


async def _get(connection: Connection, account: str, id: str, *, lock: bool = False) -> OwnKey:
    try:
        key = UUID(id)
    except ValueError:
        raise KeyUnknown from None
    row = await connection.fetchrow(
        f"{_SELECT} WHERE account = $1 AND id = $2 {'FOR UPDATE' if lock else ''}", UUID(account), key
    )
    if row is None:
        raise KeyUnknown
    return _key(row)


def _sensible(rights: Rights) -> None:
    if strange := sorted(rights.scopes - set(SCOPES)):
        raise KeyRefused("scopes", f"There is no scope `{strange[0][:32]}`; there are {', '.join(SCOPES)}.")
    if not rights.scopes:
        raise KeyRefused("scopes", "A key has at least one scope.")
    if rights.expires_at is not None and rights.expires_at <= datetime.now(UTC):
        raise KeyRefused("expires_at", "A key ends in the future.")


def _within(maker: Rights, rights: Rights) -> None:
    if (field := excess(maker, rights)) is not None:
        raise RightLacking(field)


async def _maker_now(connection: Connection, maker: Identity) -> Maker:
    """The maker as he stands: what is remembered of him may be a minute old, and what he makes would outlive it.

    Whoever changes keys of an account does so one after the other. Raises MakerEnded.
    """
    role = await role_now(connection, maker)
    if role is None or not may(role, "keys.write"):
        raise MakerEnded
    if maker.signed_in:
        return Maker(maker.rights, role, None, None, None)
    row = await connection.fetchrow(
        f"{_SELECT} WHERE id = $1 AND (account = $2 OR account = $3)",
        UUID(maker.api_key_id),
        UUID(maker.account),
        None if maker.person is None else UUID(maker.person),
    )
    try:
        key = _key(row)
        _alive(key, rotated=True)
    except (KeyUnknown, KeyEnded):
        raise MakerEnded from None
    if not key.rights.scopes & {KEYS_SCOPE, OPERATOR_SCOPE}:
        raise MakerEnded
    counter = key.counted_as or key.id
    held = key.rate_limit is not None or key.own_rate_limit is not None or await _has_budget(connection, counter)
    return Maker(key.rights, role, key.rate_limit, key.own_rate_limit, counter if held else None)


def _may_hand_out(now: Maker, role: Role) -> None:
    """Whether the maker may make, or be handed, a team's own key of this role. Raises RoleLacking, RightLacking."""
    if not may(now.role, "keys.manage"):
        raise RoleLacking("keys.manage")
    if not may_give(now.role, role):
        raise RightLacking("role")


def _reaches(now: Maker, maker: Identity, key: OwnKey) -> None:
    """Whether the maker may write this key. Raises RoleLacking, RightLacking."""
    if key.role is not None:
        _may_hand_out(now, key.role)
    elif key.person != maker.person and not may(now.role, "keys.manage"):
        raise RoleLacking("keys.manage")


async def _has_budget(connection: Connection, counter: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM budgets WHERE subject = $1)", f"key:{counter}"))


def _alive(key: OwnKey, *, rotated: bool = False) -> None:
    """Raises KeyEnded; unless `rotated`, also for a key that another has taken the place of."""
    if status_of(key) != "active" or (key.replaced_by is not None and not rotated):
        raise KeyEnded


async def _room(connection: Connection, account: str) -> None:
    count: int = await connection.fetchval(
        """SELECT count(*) FROM api_keys WHERE account = $1 AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > now())""",
        UUID(account),
    )
    if count >= KEYS_MAX:
        raise KeyRefused("name", f"An account has at most {KEYS_MAX} keys; revoke one first.")


@dataclass(frozen=True, slots=True)
class _New:
    plain_key: str = field(repr=False)
    name: str | None
    rights: Rights
    rate_limit: int | None
    own_rate_limit: int | None
    counted_as: str | None
    team_role: Role | None
    person: str | None


async def _insert(connection: Connection, account: str, by: str, new: _New) -> OwnKey:
    rights, person = new.rights, None if new.team_role is not None else new.person
    row = await connection.fetchrow(
        """INSERT INTO api_keys (id, user_id, organization_id, key_hash, key_prefix, name, scopes, models, allowed_ips,
        rate_limit_override, counted_as, expires_at, role, own_rate_limit, allowed_origins)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        RETURNING id, user_id, key_hash, key_prefix, name, scopes, models, allowed_ips, rate_limit_override,
        own_rate_limit, counted_as, expires_at, last_used_at, created_at, revoked_at, replaced_by, role, allowed_origins""",
        UUID(new_id()),
        None if person is None else UUID(person),
        None if person == account else UUID(account),
        key_hash(new.plain_key),
        key_prefix(new.plain_key),
        new.name,
        sorted(rights.scopes),
        None if rights.models is None else sorted(rights.models),
        rights.allowed_ips,
        new.rate_limit,
        None if new.counted_as is None else UUID(new.counted_as),
        rights.expires_at,
        new.team_role,
        new.own_rate_limit,
        rights.allowed_origins,
    )
    made = _key(row)
    scopes = tuple(sorted(rights.scopes))
    fact = KeyCreated(api_key_id=made.id, prefix=made.prefix, scopes=scopes, person=made.person, role=made.role, by=by)
    await _say(connection, account, made.id, fact)
    if rights != Rights(rights.scopes) or made.own_rate_limit is not None:
        await _say(connection, account, made.id, _changed(made, by))
    return made


async def _replace(
    connection: Connection, account: str, by: str, found: OwnKey, plain_key: str, grace: timedelta
) -> tuple[OwnKey, OwnKey]:
    rates, counted_as = (found.rate_limit, found.own_rate_limit), found.counted_as or found.id
    new = _New(plain_key, found.name, found.rights, *rates, counted_as, found.role, found.person)
    made = await _insert(connection, account, by, new)
    until = datetime.now(UTC) + grace
    if found.rights.expires_at is not None:
        until = min(until, found.rights.expires_at)
    old = replace(found, rights=replace(found.rights, expires_at=until), replaced_by=made.id)
    await _write(connection, account, by, old)
    return old, made


async def _write(connection: Connection, account: str, by: str, key: OwnKey) -> None:
    rights = key.rights
    await connection.execute(
        """UPDATE api_keys SET name = $2, scopes = $3, models = $4, allowed_ips = $5, expires_at = $6, replaced_by = $7,
        own_rate_limit = $8, allowed_origins = $9 WHERE id = $1""",
        UUID(key.id),
        key.name,
        sorted(rights.scopes),
        None if rights.models is None else sorted(rights.models),
        rights.allowed_ips,
        rights.expires_at,
        None if key.replaced_by is None else UUID(key.replaced_by),
        key.own_rate_limit,
        rights.allowed_origins,
    )
    await _say(connection, account, key.id, _changed(key, by))


def _changed(key: OwnKey, by: str) -> KeyChanged:
    rights = key.rights
    return KeyChanged(
        api_key_id=key.id,
        key_hash=key.key_hash,
        scopes=tuple(sorted(rights.scopes)),
        models=None if rights.models is None else tuple(sorted(rights.models)),
        allowed_ips=None if rights.allowed_ips is None else len(rights.allowed_ips),
        expires_at=rights.expires_at,
        replaced_by=key.replaced_by,
        rate_limit=key.own_rate_limit,
        allowed_origins=rights.allowed_origins,
        by=by,
    )


async def _say(connection: Connection, account: str, key: str, fact: Event) -> None:
    await enqueue(connection, Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account, subject=key))


def _key(row: asyncpg.Record | None) -> OwnKey:
    if row is None:
        raise KeyUnknown
    return OwnKey(
        id=str(row["id"]),
        prefix=row["key_prefix"],
        key_hash=row["key_hash"],
        name=row["name"],
        rights=Rights(
            frozenset(ORDINARY_SCOPES if row["scopes"] is None else row["scopes"]),
            None if row["models"] is None else frozenset(row["models"]),
            None if row["allowed_ips"] is None else tuple(row["allowed_ips"]),
            row["expires_at"],
            None if row["allowed_origins"] is None else tuple(row["allowed_origins"]),
        ),
        rate_limit=row["rate_limit_override"],
        own_rate_limit=row["own_rate_limit"],
        counted_as=None if row["counted_as"] is None else str(row["counted_as"]),
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        replaced_by=None if row["replaced_by"] is None else str(row["replaced_by"]),
        person=None if row["user_id"] is None else str(row["user_id"]),
        role=row["role"],
    )
