"""Who else vouches for a person: his accounts with other issuers. One rule: (issuer, subject) is the name, never an address."""

from __future__ import annotations

from uuid import UUID

from app.accounts import AccountRefused, email_address
from app.database import Connection
from app.mail import Mails
from app.people.issuers.issuer import Vouched
from app.people.letters import Letters
from app.people.saying import by, say
from app.people.signing_up import new_person
from events.people import SignInLinked


class NoAddress(Exception):
    """The issuer names no address that it has tried."""


async def linked(connection: Connection, person: str) -> list[str]:
    """The names of those who vouch for him."""
    rows = await connection.fetch(
        "SELECT DISTINCT provider FROM outside_identities WHERE user_id = $1 ORDER BY provider", UUID(person)
    )
    return [row["provider"] for row in rows]


async def person_of(connection: Connection, mails: Mails, letters: Letters, vouched: Vouched, provider: str) -> str:
    """The person that the issuer's word is about; one is made, or linked by address, where nobody is known by it yet.

    Raises NoAddress where the issuer names no address that it has tried: by any other anybody could become anybody.
    """
    async with connection.transaction():
        known = await connection.fetchval(
            "SELECT user_id FROM outside_identities WHERE issuer = $1 AND subject = $2", vouched.issuer, vouched.subject
        )
        if known is not None:
            return str(known)
        if vouched.email is None:
            raise NoAddress
        try:
            email = email_address(vouched.email)
        except AccountRefused:
            raise NoAddress from None
        made = await new_person(connection, email, None)
        person = made or str(await connection.fetchval("SELECT id FROM users WHERE email = $1", email))
        linked_now = await connection.fetchval(
            """INSERT INTO outside_identities (issuer, subject, user_id, provider) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING true""",
            vouched.issuer,
            vouched.subject,
            UUID(person),
            provider,
        )
        if linked_now:
            await say(connection, person, SignInLinked(provider=provider, by=by(person)))
            if made is None:
                await mails.put(connection, letters.sign_in_linked(email, provider))
    return person
