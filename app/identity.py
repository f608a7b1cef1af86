"""Who a key belongs to and what it may do.

One rule: a key is believed for at most a minute without asking Postgres, and not a moment longer once its revocation
was heard (`app.changes`). Plain keys are not kept: what is remembered goes by the SHA-256 of the key, all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal, Protocol, Self

import structlog

from app.api_keys import KEY_CHARACTERS, well_formed
from app.bounded_cache import BoundedCache
from app.changes import Change, Changes
from app.database import Unavailable
from app.single_flight import SingleFlight
from app.teams.membership import Membership, Memberships, NotMember
from events.completions import ProviderKey, Tier
from handlers.rules.key_rights import EVERY_SCOPE, Network, Rights
from handlers.rules.policy import AccountPolicy
from handlers.rules.roles import SCOPE_OF, Action, Role
from handlers.rules.roles import may as role_may

__all__ = ["Identities", "Identity", "NotMember", "Unavailable", "Unknown"]

log = structlog.get_logger()

IDENTITY_KEEP_S: Final = 60.0
"""The contract's bound on a revocation while the channel is down."""

_STRANGER_KEEP_S: Final = 2.0
"""A client with a wrong key tries again and again; a key made meanwhile works after this at latest."""

_IDENTITIES_MAX: Final = 50_000
"""Half a kilobyte each: 25 MB, and what their accounts' routing policies take."""

_STRANGERS_MAX: Final = 1_000
"""Few, for anybody can make strangers; whoever makes more pays a look-up for each."""

_USE_WRITTEN_EVERY_S: Final = 5.0

ORDINARY_SCOPES: Final = ("chat", "agents", "prompts")
"""What a key may do when its maker named no scopes."""

KEYS_SCOPE: Final = "keys"
"""May make, change and revoke keys of its account. Given by name alone: a key that leaks from a program that only chats
must not be able to make others."""

ACCOUNT_SCOPE: Final = "account"
"""May look after the account and its people: team, members, budgets, provider keys, export. Given by name alone too."""

OPERATOR_SCOPE: Final = EVERY_SCOPE
SCOPES: Final = (*ORDINARY_SCOPES, KEYS_SCOPE, ACCOUNT_SCOPE, OPERATOR_SCOPE)

OPERATOR: Final = "operator"
"""Whoever has the machine: by whom the facts of `./helix user` and the like say they were done."""

_ACCOUNT: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Status = Literal["active", "suspended", "deleted"]
Why = Literal["malformed", "unknown", "revoked", "expired", "suspended", "deleted"]


@dataclass(frozen=True, slots=True)
class Identity:
    """One key, or one person who has signed in, and the account it acts for."""

    account: str
    person: str | None
    """Who is behind it; None: a team's own key."""
    role: Role
    """What the person, or the team's key, is in this account."""
    api_key_id: str
    tier: Tier
    scopes: frozenset[str]
    rate_limit_override: int | None
    """Requests a minute; None: the tier's."""
    expires_at: datetime | None
    policy: AccountPolicy | None = None
    """What the account wants of the router."""
    provider_keys: tuple[ProviderKey, ...] = ()
    """What it has brought, for nearly every account nothing; never the keys themselves."""
    models: frozenset[str] | None = None
    """Models it may ask for; None: all."""
    allowed_ips: tuple[Network, ...] | None = None
    """From where it may be used; None: from everywhere."""
    allowed_origins: tuple[str, ...] | None = None
    """Whose pages may use it; None: those that the operator names for all keys."""
    counted_as: str | None = None
    """The key whose rate limit and purse it shares; None: its own."""
    own_rate_limit: int | None = None
    """Requests a minute that its owner lets it make, beside the account's; None: no limit of its own."""
    signed_in: bool = False
    """By an access token: there is no key, and `api_key_id` names what usage is written down under instead."""

    @property
    def operator(self) -> bool:
        return OPERATOR_SCOPE in self.scopes

    @property
    def by(self) -> str:
        """As facts say who did something (`events.message.By`)."""
        return f"person:{self.person}" if self.signed_in else f"key:{self.api_key_id}"

    @property
    def rights(self) -> Rights:
        return Rights(self.scopes, self.models, self.allowed_ips, self.expires_at, self.allowed_origins)

    def has(self, scope: str) -> bool:
        """An operator has every scope."""
        return scope in self.scopes or self.operator

    def may(self, action: Action) -> bool:
        """Whether both the scopes of the key and the role allow it."""
        return self.has(SCOPE_OF[action]) and role_may(self.role, action)


class Unknown(Exception):
    """This key opens nothing. `why` is for the log; a client hears the same words whatever it is."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables say of a key."""

    identity: Identity
    status: Status
    revoked: bool


class Records(Protocol):
    """Where keys are looked up."""

    async def find(self, key_hash: str) -> Found | None:
        """None: there is no such key. Raises Unavailable."""
        ...

    async def note_use(self, api_key_ids: frozenset[str]) -> None:
        """These keys were used within the last minute. Raises Unavailable."""
        ...

    async def membership(self, person: str, account: str) -> Membership | None:
        """None for an account that there is not or that is closed, too. Raises Unavailable."""
        ...


class Identities:
    """Ask `cached` first, which never waits; then `of`. Open it with `async with`."""

    def __init__(
        self,
        records: Records,
        cache_url: str,
        *,
        on_account_changed: Callable[[str], None] = lambda account: None,
        on_change: Callable[[Change], None] = lambda change: None,
        on_gap: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_account_changed`, `on_change` (every one) and `on_gap` pass on what the channel says to others that remember,
        such as the vault."""
        self._records = records
        self._now = now
        self._known: BoundedCache[bytes, Identity] = BoundedCache(_IDENTITIES_MAX, clock=clock)
        self._strangers: BoundedCache[bytes, Why] = BoundedCache(_STRANGERS_MAX, clock=clock)
        self._looking: SingleFlight[bytes, Identity] = SingleFlight()
        self._memberships = Memberships(records, clock=clock)
        self._changes_heard = 0
        self._used: set[str] = set()
        self._on_account_changed = on_account_changed
        self._on_change = on_change
        self._on_gap = on_gap
        self.changes = Changes(cache_url, on_change=self.forget, on_gap=self.forget_all)
        self._note_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.changes.start()
        self._note_task = asyncio.create_task(self._note_uses(), name="note_uses")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.changes.stop()
        if self._note_task is not None:
            self._note_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._note_task
        await self.write_uses()

    def cached(self, key: str) -> Identity | None:
        """Whose key this is, when it is remembered; None says nothing about the key."""
        return self._known.get(_digest(key)) if len(key) == KEY_CHARACTERS and key.isascii() else None

    async def of(self, key: str) -> Identity:
        """Whose key this is.

        Raises Unknown; for what is no key at all, before any look-up. Raises Unavailable when it must be looked up and
        Postgres does not answer.
        """
        if not well_formed(key):
            raise Unknown("malformed")
        digest = _digest(key)
        known = self._known.get(digest)
        if known is not None:
            return known
        stranger = self._strangers.get(digest)
        if stranger is not None:
            raise Unknown(stranger)
        return await self._looking.fetch(digest, self._look_up)

    async def acting_for(self, identity: Identity, account: str) -> Identity:
        """The same key or person in another account.

        Raises NotMember, for whoever is nobody there, and for what is bound to one account: a team's key, and a key that a
        member has for a team. Raises Unavailable when it must be looked up and Postgres does not answer.
        """
        if account == identity.account:
            return identity
        if identity.person is None or identity.account != identity.person or not _is_account(account):
            raise NotMember
        found = await self._memberships.of(identity.person, account)
        return replace(
            identity,
            account=account,
            role=found.role,
            tier=found.tier,
            policy=found.policy,
            provider_keys=found.provider_keys,
        )

    def forget(self, change: Change) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._on_change(change)
        match change.kind:
            case "key":
                with contextlib.suppress(ValueError):  # no hash: there is nothing remembered by that name
                    digest = bytes.fromhex(change.id)
                    self._known.drop(digest)
                    self._strangers.drop(digest)
            case "account":
                self._known.drop_where(lambda identity: change.id in (identity.account, identity.person))
                self._memberships.forget(change.id)
                self._strangers.clear()
                self._on_account_changed(change.id)
            case "session":
                pass  # who has signed in is remembered elsewhere (`on_change`)

    def forget_all(self) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._known.clear()
        self._strangers.clear()
        self._memberships.forget_all()
        self._on_gap()

    async def _look_up(self, digest: bytes) -> Identity:
        before = self._changes_heard
        found = await self._records.find(digest.hex())
        now = self._now()
        why = _refusal(found, now)
        told_meanwhile = before != self._changes_heard  # then what was read may be older than what was told
        if found is None or why is not None:
            if not told_meanwhile:
                self._strangers.put(digest, why or "unknown", keep_s=_STRANGER_KEEP_S)
            raise Unknown(why or "unknown")
        identity = found.identity
        keep_s = IDENTITY_KEEP_S
        if identity.expires_at is not None:
            keep_s = min(keep_s, (identity.expires_at - now).total_seconds())
        if not told_meanwhile:
            self._known.put(digest, identity, keep_s=keep_s)
        self._used.add(identity.api_key_id)
        return identity

    async def _note_uses(self) -> None:
        """A key in use is looked up once a minute, so that noting look-ups notes its last use to the minute."""
        while True:
            await asyncio.sleep(_USE_WRITTEN_EVERY_S)
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write what has been noted since the last time; done every few seconds, and at the end."""
        if not self._used:
            return
        used, self._used = frozenset(self._used), set()
        try:
            await self._records.note_use(used)
        except Unavailable as outage:
            self._used |= used
            log.warning("key_uses_not_noted", keys=len(self._used), why=str(outage))


def _refusal(found: Found | None, now: datetime) -> Why | None:
    if found is None:
        return "unknown"
    if found.revoked:
        return "revoked"
    if found.identity.expires_at is not None and found.identity.expires_at <= now:
        return "expired"
    return None if found.status == "active" else found.status


def _is_account(text: str) -> bool:
    """Whether this can be an account at all, in the one way an id is written: two spellings are not two accounts."""
    return _ACCOUNT.fullmatch(text) is not None


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
