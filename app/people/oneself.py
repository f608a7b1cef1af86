"""What a person may change of himself: name, address, password; and the way back in when the password is forgotten.

One rule: what opens the account is changed by who knows its password or reads its mail, never by a session alone; and whoever
may have lost something by it is told by mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg

from app.accounts import email_address
from app.database import Connection
from app.mail import Mails
from app.people import sessions
from app.people.letters import Letters
from app.people.saying import by, say
from app.people.secrets import LINK, digest, new_secret
from app.people.signing_up import AlreadyHere, LinkOver
from events.completions import Tier
from events.people import EmailChanged, PasswordChanged, ProfileChanged

RESET_GOOD_FOR: Final = timedelta(hours=1)
ADDRESS_GOOD_FOR: Final = timedelta(days=1)
NAME: Final = "users.name"
ADDRESS: Final = "mailed_links.email"
"""The columns that are sealed, as `app.personal` names them; the row is the person's."""


class NoPerson(Exception):
    """There is none, or he may not sign in now."""


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    email: str
    tier: Tier
    status: str
    name: bytes | None
    """Sealed (`app.personal`) as NAME."""
    password_hash: str | None
    created_at: datetime


async def find(connection: Connection, id: str) -> Person:
    """Raises NoPerson."""
    row = await connection.fetchrow(f"{_SELECT} WHERE id = $1", UUID(id))
    if row is None:
        raise NoPerson
    return _person(row)


async def find_by_email(connection: Connection, email: str) -> Person | None:
    """`email` in the form in which addresses are kept (`app.accounts.email_address`)."""
    row = await connection.fetchrow(f"{_SELECT} WHERE email = $1", email)
    return None if row is None else _person(row)


async def set_name(connection: Connection, id: str, name: bytes | None, doer: str) -> None:
    """`name`: sealed as NAME; None: none. `doer` as facts say it."""
    async with connection.transaction():
        await connection.execute("UPDATE users SET name = $2, updated_at = now() WHERE id = $1", UUID(id), name)
        await say(connection, id, ProfileChanged(fields=("name",), by=doer))


async def set_hash(connection: Connection, id: str, old: str, new: str) -> None:
    """The same password, kept at today's cost."""
    await connection.execute(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2", UUID(id), old, new
    )


async def forgot(connection: Connection, mails: Mails, letters: Letters, email: str) -> None:
    """Mail a link to who has an account at this address; for others do as much and mail nothing."""
    async with connection.transaction():
        person = await find_by_email(connection, email)
        if person is None or person.status != "active":
            await mails.put_nothing(connection)
            return
        token = await _link(connection, person.id, "reset", None, RESET_GOOD_FOR)
        await mails.put(connection, letters.reset(person.email, token), RESET_GOOD_FOR)


async def reset(connection: Connection, mails: Mails, letters: Letters, token: str, password_hash: str) -> str:
    """A new password for who opened the link; every session is over → the person. Raises LinkOver."""
    async with connection.transaction():
        id = await _use_link(connection, token, "reset")
        person = await find(connection, id)
        if person.status != "active":
            raise LinkOver
        await _write_password(connection, person, password_hash, "reset", None)
        await mails.put(connection, letters.password_changed(person.email))
    return person.id


async def change_password(
    connection: Connection, mails: Mails, letters: Letters, person: Person, password_hash: str, session: str | None
) -> None:
    """By who has just shown that he knows the old one. Every other session is over."""
    async with connection.transaction():
        await _write_password(connection, person, password_hash, "changed", session)
        await mails.put(connection, letters.password_changed(person.email))


async def ask_new_address(
    connection: Connection, mails: Mails, letters: Letters, person: Person, email: str, sealed: bytes
) -> None:
    """Mail a link to the new address; the old one holds until it is opened. `sealed`: the address, by `app.personal` as
    ADDRESS. Whether it is taken is told to who reads its mail, and to nobody else."""
    async with connection.transaction():
        taken = await connection.fetchval("SELECT true FROM users WHERE email = $1", email)
        token = await _link(connection, person.id, "address", sealed, ADDRESS_GOOD_FOR)
        mail = letters.address_taken(email) if taken else letters.new_address(email, token)
        await mails.put(connection, mail, ADDRESS_GOOD_FOR)


async def address_of_link(connection: Connection, token: str) -> tuple[str, bytes]:
    """Whose link to a new address this is, and the address, sealed. Raises LinkOver."""
    row = await connection.fetchrow(
        "SELECT user_id, email FROM mailed_links WHERE token_hash = $1 AND purpose = 'address' AND expires_at > now()",
        digest(token),
    )
    if row is None:
        raise LinkOver
    return str(row["user_id"]), row["email"]


async def take_new_address(connection: Connection, mails: Mails, letters: Letters, token: str, email: str) -> str:
    """The link was opened: from now on this is the person's address → the person. Raises LinkOver, AlreadyHere."""
    async with connection.transaction():
        id = await _use_link(connection, token, "address")
        person = await find(connection, id)
        address = email_address(email)
        if await connection.fetchval("SELECT true FROM users WHERE email = $1 AND id <> $2", address, UUID(id)):
            raise AlreadyHere
        await connection.execute("UPDATE users SET email = $2, updated_at = now() WHERE id = $1", UUID(id), address)
        await say(connection, person.id, EmailChanged(by=by(person.id)))
        await mails.put(connection, letters.address_changed(person.email))
    return person.id


async def _write_password(
    connection: Connection, person: Person, password_hash: str, how: Literal["changed", "reset"], session: str | None
) -> None:
    await connection.execute(
        "UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1", UUID(person.id), password_hash
    )
    # A link to a new password or address that somebody else asked for must not outlive this.
    await connection.execute("DELETE FROM mailed_links WHERE user_id = $1", UUID(person.id))
    await say(connection, person.id, PasswordChanged(how=how, by=by(person.id)))
    await sessions.end_all(connection, person.id, "password_changed", but=session)


async def _link(
    connection: Connection, person: str, purpose: Literal["reset", "address"], email: bytes | None, good: timedelta
) -> str:
    token = new_secret(LINK)
    await connection.execute("DELETE FROM mailed_links WHERE user_id = $1 AND expires_at < now()", UUID(person))
    await connection.execute(
        """INSERT INTO mailed_links (token_hash, user_id, purpose, email, expires_at)
        VALUES ($1, $2, $3, $4, now() + $5)""",
        digest(token),
        UUID(person),
        purpose,
        email,
        good,
    )
    return token


async def _use_link(connection: Connection, token: str, purpose: Literal["reset", "address"]) -> str:
    person = await connection.fetchval(
        """DELETE FROM mailed_links WHERE token_hash = $1 AND purpose = $2 AND expires_at > now() RETURNING user_id""",
        digest(token),
        purpose,
    )
    if person is None:
        raise LinkOver
    return str(person)


_SELECT: Final = "SELECT id, email, tier, status, name, password_hash, created_at FROM users"


def _person(row: asyncpg.Record) -> Person:
    return Person(
        str(row["id"]),
        row["email"],
        row["tier"],
        row["status"],
        row["name"],
        row["password_hash"],
        row["created_at"],
    )
