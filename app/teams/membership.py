"""Which accounts a person may act for besides his own, and as what.

One rule: what is remembered is forgotten when the account or the person is told to have changed (`app.changes`), and in any
case after a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from app.bounded_cache import BoundedCache
from app.single_flight import SingleFlight
from events.completions import ProviderKey, Tier
from handlers.rules.policy import AccountPolicy
from handlers.rules.roles import Role

KEEP_S: Final = 60.0
MEMBERSHIPS_MAX: Final = 20_000
"""A few hundred bytes each."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a person is in an account that is not his own, and what holds for everybody who acts for it."""

    account: str
    person: str
    role: Role
    tier: Tier
    policy: AccountPolicy | None
    provider_keys: tuple[ProviderKey, ...] = ()


class NotMember(Exception):
    """There is no such account, it is closed, or the person does not belong to it: nobody learns which."""


class MembershipRecords(Protocol):
    """Where memberships are looked up."""

    async def membership(self, person: str, account: str) -> Membership | None:
        """None for an account that there is not or that is closed, too. Raises `app.database.Unavailable`."""
        ...


class Memberships:
    def __init__(self, records: MembershipRecords, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._known: BoundedCache[tuple[str, str], Membership] = BoundedCache(MEMBERSHIPS_MAX, clock=clock)
        self._looking: SingleFlight[tuple[str, str], Membership] = SingleFlight()
        self._changes_heard = 0

    async def of(self, person: str, account: str) -> Membership:
        """Raises NotMember; Unavailable when it must be looked up and Postgres does not answer."""
        known = self._known.get((person, account))
        return known if known is not None else await self._looking.fetch((person, account), self._look_up)

    def forget(self, id: str) -> None:
        """Of this account or person."""
        self._changes_heard += 1
        self._looking.forsake_all()
        self._known.drop_where(lambda known: id in (known.account, known.person))

    def forget_all(self) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._known.clear()

    async def _look_up(self, key: tuple[str, str]) -> Membership:
        before = self._changes_heard
        found = await self._records.membership(*key)
        if found is None:
            raise NotMember
        if before == self._changes_heard:  # else what was read may be older than what was told
            self._known.put(key, found, keep_s=KEEP_S)
        return found
