"""Who comes with an access token, and what he may do.

One rule: a token is read once in each process, and its session believed for at most a minute without asking Postgres, and not a
moment longer once its end was heard (`app.changes`). What is no token of ours is refused before anything is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

from app import routing_policies
from app.bounded_cache import BoundedCache
from app.database import Pool, borrowed
from app.identity import ACCOUNT_SCOPE, KEYS_SCOPE, ORDINARY_SCOPES, Identity, Unknown
from app.people.tokens import Access, AccessTokens, NoToken
from app.provider_keys.store import keys_of, versions
from app.single_flight import SingleFlight

KEEP_S: Final = 60.0
"""The contract's bound on a session's end while the channel is down."""
SESSIONS_MAX: Final = 20_000
TOKENS_MAX: Final = 40_000
"""A session has two when it is refreshed early; 200 bytes each."""
OVER_KEEP_S: Final = 2.0
_STREAM_S_MAX: Final = 3600.0
"""How long after its reading a token can still be asked for its session: longer than any stream."""

PERSON_SCOPES: Final = frozenset((*ORDINARY_SCOPES, KEYS_SCOPE, ACCOUNT_SCOPE))
"""Whoever has signed in is bounded by his role alone. Nobody is an operator by signing in: that takes the operator's key."""


class SessionRecords(Protocol):
    """Where sessions are looked up."""

    async def session(self, person: str, session: str) -> Identity | None:
        """The person in his own account. None: there is no such session, it is over, or he may not come in.

        Raises `app.database.Unavailable`."""
        ...


class PostgresSessions:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def session(self, person: str, session: str) -> Identity | None:
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow(
                f"""SELECT u.tier, r.policy, {keys_of("u.id")} AS provider_keys
                FROM sessions s JOIN users u ON u.id = s.user_id
                LEFT JOIN routing_policies r ON r.user_id = u.id
                WHERE s.id = $1 AND s.user_id = $2 AND s.ended_at IS NULL AND s.expires_at > now() AND u.status = 'active'""",  # noqa: S608  # a column of ours
                UUID(session),
                UUID(person),
            )
        if row is None:
            return None
        return Identity(
            account=person,
            person=person,
            role="owner",
            api_key_id=person,
            tier=row["tier"],
            scopes=PERSON_SCOPES,
            rate_limit_override=None,
            expires_at=None,  # what a person makes does not end with his token
            policy=None if row["policy"] is None else routing_policies.read(row["policy"]),
            provider_keys=versions(row["provider_keys"]),
            signed_in=True,
        )


class SignedInPeople:
    """Ask `of`; nothing waits where the session is remembered."""

    def __init__(
        self,
        tokens: AccessTokens,
        records: SessionRecords,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._records = records
        self._now = now
        self._read: BoundedCache[bytes, Access] = BoundedCache(TOKENS_MAX, clock=clock)
        self._open: BoundedCache[str, Identity] = BoundedCache(SESSIONS_MAX, clock=clock)
        self._over: BoundedCache[str, bool] = BoundedCache(SESSIONS_MAX, clock=clock)
        self._looking: SingleFlight[tuple[str, str], Identity] = SingleFlight()
        self._changes_heard = 0

    async def of(self, token: str, *, lasting: bool = False) -> Identity:
        """Who this is, in his own account. `lasting`: for what began while the token was good and may go on for as long as
        the session does.

        Raises Unknown for no token of ours, and for a session that is over; Unavailable when Postgres must be asked and does
        not answer.
        """
        access = self._access(token, lasting=lasting)
        found = self._open.get(access.session)
        if found is not None:
            return found
        if self._over.get(access.session):
            raise Unknown("revoked")
        return await self._looking.fetch((access.person, access.session), self._look_up)

    def session_of(self, token: str) -> str:
        """The session that a token belongs to which was good a moment ago. Raises Unknown."""
        return self._access(token, lasting=True).session

    def forget_session(self, session: str) -> None:
        self._heard()
        self._open.drop(session)

    def forget_person(self, person: str) -> None:
        self._heard()
        self._open.drop_where(lambda found: found.person == person)

    def forget_all(self) -> None:
        self._heard()
        self._open.clear()

    def _heard(self) -> None:
        self._changes_heard += 1
        self._looking.forsake_all()
        self._over.clear()

    def _access(self, token: str, *, lasting: bool) -> Access:
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        access = self._read.get(digest)
        if access is None:
            try:
                access = self._tokens.read(token)
            except NoToken as none:
                raise Unknown("expired" if none.expired else "malformed") from None
            self._read.put(digest, access, keep_s=_STREAM_S_MAX)
        if not lasting and access.expires_at <= self._now():
            raise Unknown("expired")
        return access

    async def _look_up(self, key: tuple[str, str]) -> Identity:
        before = self._changes_heard
        person, session = key
        found = await self._records.session(person, session)
        told_meanwhile = before != self._changes_heard  # then what was read may be older than what was told
        if found is None:
            if not told_meanwhile:
                self._over.put(session, True, keep_s=OVER_KEEP_S)
            raise Unknown("revoked")
        if not told_meanwhile:
            self._open.put(session, found, keep_s=KEEP_S)
        return found
