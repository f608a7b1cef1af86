"""Sessions: begun by signing in, kept up by refresh tokens, each good for one use.

One rule: a refresh token that comes a second time ends its session, for one of the two who hold it is a thief and nobody can
tell which. So a client keeps the new one before it forgets the old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.database import Connection
from app.ids import new_id
from app.mail import Mails
from app.people.letters import Letters
from app.people.saying import by, say
from app.people.secrets import REFRESH, digest, new_secret
from events.people import SessionEnded, SessionStarted, WhyEnded

IDLE: Final = timedelta(days=14)
"""A session that is not refreshed for so long is over."""
LASTS: Final = timedelta(days=90)
"""However much it is used."""
_KEPT: Final = timedelta(days=30)
"""Sessions that are over, to look at."""
SESSIONS_MAX: Final = 50
"""Of one person; the one that was refreshed longest ago gives way."""
BROWSER: Final = "sessions.browser"
"""The column that is sealed, as `app.personal` names it; the row is the session's."""
BROWSER_CHARACTERS_MAX: Final = 256


class NoSession(Exception):
    """There is none, or it is over."""


class Reused(Exception):
    """The refresh token had been used before: the session is over from now on."""

    def __init__(self, person: str, session: str) -> None:
        super().__init__(session)
        self.person = person
        self.session = session


@dataclass(frozen=True, slots=True)
class Kept:
    """What the person is given to keep a session up."""

    person: str
    session: str
    refresh_token: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    how: str
    browser: bytes | None
    """Sealed (`app.personal`)."""
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime


def new_session() -> str:
    return new_id()


async def start(connection: Connection, person: str, session: str, how: str, browser: bytes | None) -> Kept:
    """Begin the session with this id, within the caller's transaction. `browser`: sealed."""
    await connection.execute(
        "DELETE FROM sessions WHERE user_id = $1 AND coalesce(ended_at, expires_at) < now() - $2::interval",
        UUID(person),
        _KEPT,
    )
    crowded = await connection.fetch(
        """SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()
        ORDER BY refreshed_at DESC OFFSET $2 FOR UPDATE""",
        UUID(person),
        SESSIONS_MAX - 1,
    )
    await _end(connection, person, [row["id"] for row in crowded], "signed_out")
    until: datetime = await connection.fetchval(
        """INSERT INTO sessions (id, user_id, how, browser, expires_at) VALUES ($1, $2, $3, $4, now() + $5)
        RETURNING expires_at""",
        UUID(session),
        UUID(person),
        how,
        browser,
        IDLE,
    )
    await say(connection, person, SessionStarted(session=session, how=how, by=by(person)), session)
    return Kept(person, session, await _next_token(connection, UUID(session)), until)


async def refresh(connection: Connection, token: str, mails: Mails, letters: Letters) -> Kept:
    """A new refresh token for this one. Raises NoSession; Reused, once the session's end is written down."""
    async with connection.transaction():
        row = await _of_token(connection, token)
        if row is None or row["over"]:
            raise NoSession
        person, session = str(row["user_id"]), str(row["id"])
        if row["used_at"] is None:
            await connection.execute("UPDATE refresh_tokens SET used_at = now() WHERE token_hash = $1", digest(token))
            until = await connection.fetchval(
                """UPDATE sessions SET refreshed_at = now(), expires_at = least(now() + $2, created_at + $3)
                WHERE id = $1 RETURNING expires_at""",
                row["id"],
                IDLE,
                LASTS,
            )
            return Kept(person, session, await _next_token(connection, row["id"]), until)
        await _end(connection, person, [row["id"]], "refresh_reused")
        await mails.put(connection, letters.session_stolen(row["email"]))
    raise Reused(person, session)


async def session_of(connection: Connection, token: str) -> tuple[str, str]:
    """The person and session that a refresh token belongs to, used or not. Raises NoSession."""
    row = await _of_token(connection, token)
    if row is None:
        raise NoSession
    return str(row["user_id"]), str(row["id"])


async def end(connection: Connection, person: str, session: str, why: WhyEnded = "signed_out") -> None:
    """Over from now on; once over, nothing changes. Raises NoSession when the person has no such session."""
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT id, ended_at FROM sessions WHERE id = $1 AND user_id = $2 FOR UPDATE", _uuid(session), UUID(person)
        )
        if row is None:
            raise NoSession
        if row["ended_at"] is None:
            await _end(connection, person, [row["id"]], why)


async def end_all(connection: Connection, person: str, why: WhyEnded, *, but: str | None = None) -> None:
    """Every session of the person, but for one; within the caller's transaction."""
    rows = await connection.fetch(
        "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $2 FOR UPDATE",
        UUID(person),
        None if but is None else UUID(but),
    )
    await _end(connection, person, [row["id"] for row in rows], why)


async def open_sessions(connection: Connection, person: str) -> list[Session]:
    """Those that are not over, the one that was used last first."""
    rows = await connection.fetch(
        """SELECT id, how, browser, created_at, refreshed_at, expires_at FROM sessions
        WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() ORDER BY refreshed_at DESC, id""",
        UUID(person),
    )
    return [
        Session(str(row["id"]), row["how"], row["browser"], row["created_at"], row["refreshed_at"], row["expires_at"])
        for row in rows
    ]


async def _end(connection: Connection, person: str, sessions: list[UUID], why: WhyEnded) -> None:
    if not sessions:
        return
    await connection.execute(
        "UPDATE sessions SET ended_at = now(), ended_why = $2 WHERE id = ANY($1::uuid[])", sessions, why
    )
    ended = tuple(str(each) for each in sessions)
    await say(connection, person, SessionEnded(sessions=ended, why=why, by=by(person)))


async def _of_token(connection: Connection, token: str) -> asyncpg.Record | None:
    # Both rows are locked: whoever comes second with a token must see that it was used.
    return await connection.fetchrow(
        """SELECT t.used_at, s.id, s.user_id, u.email,
        s.ended_at IS NOT NULL OR s.expires_at <= now() OR u.status <> 'active' AS over
        FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
        WHERE t.token_hash = $1 FOR UPDATE OF t, s""",
        digest(token),
    )


async def _next_token(connection: Connection, session: UUID) -> str:
    token = new_secret(REFRESH)
    await connection.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($1, $2)", digest(token), session
    )
    return token


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NoSession from None
