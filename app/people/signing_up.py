"""From an address and a password to an account, by way of a mail.

One rule: nobody has an account before he has shown that he reads mail at its address; so nobody holds another's address, and an
account's address is always its owner's. Until then address and hash lie sealed, under the hash of the mailed link.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final
from uuid import UUID

from app import consents
from app.database import Connection
from app.ids import new_id
from app.key_ring import RingRefused
from app.mail import Mails
from app.people.letters import Letters
from app.people.saying import by, say
from app.people.secrets import LINK, digest, new_secret
from events.accounts import UserCreated

LINK_GOOD_FOR: Final = timedelta(days=1)


class LinkOver(Exception):
    """This link is none of ours, was used, or is too old."""


class AlreadyHere(Exception):
    """Its address has got an account meanwhile."""


async def ask(
    connection: Connection, mails: Mails, letters: Letters, email: str, password_hash: str, terms: str | None = None
) -> None:
    """Mail a link to the address; one that has an account is told so, and nobody else learns it. `terms`: the version that
    was agreed to."""
    async with connection.transaction():
        taken = await connection.fetchval("SELECT true FROM users WHERE email = $1", email)
        await connection.execute("DELETE FROM sign_ups WHERE expires_at < now()")
        token = new_secret(LINK)
        key = digest(token)
        wish = mails.ring.seal(_bound(key), json.dumps([email, password_hash, terms]).encode())
        # Written in both cases: the time it takes tells nobody whether there is an account. Of the one who has an account
        # nobody knows the token, and it goes with its day.
        await connection.execute(
            "INSERT INTO sign_ups (token_hash, sealed, sealed_by, expires_at) VALUES ($1, $2, $3, now() + $4)",
            key,
            wish,
            mails.ring.current,
            LINK_GOOD_FOR,
        )
        mail = letters.already_here(email) if taken else letters.sign_up(email, token)
        await mails.put(connection, mail, LINK_GOOD_FOR)


async def confirm(connection: Connection, mails: Mails, token: str) -> str:
    """The link was opened: make the account → its id. Raises LinkOver, AlreadyHere."""
    key = digest(token)
    async with connection.transaction():
        row = await connection.fetchrow(
            "DELETE FROM sign_ups WHERE token_hash = $1 AND expires_at > now() RETURNING sealed, sealed_by", key
        )
        if row is None:
            raise LinkOver
        try:
            email, password_hash, terms = json.loads(mails.ring.open(_bound(key), row["sealed"], row["sealed_by"]))
        except RingRefused:
            raise LinkOver from None
        person = await new_person(connection, email, password_hash)
        if person is None:
            raise AlreadyHere
        if terms is not None:
            await consents.give(connection, person, "terms", terms, by=by(person))
    return person


async def new_person(connection: Connection, email: str, password_hash: str | None) -> str | None:
    """An account of tier free for an address that has been shown to be its owner's → its id; None: it is taken."""
    id = UUID(new_id())
    made = await connection.fetchval(
        """INSERT INTO users (id, email, password_hash, tier, status) VALUES ($1, $2, $3, 'free', 'active')
        ON CONFLICT (email) DO NOTHING RETURNING id""",
        id,
        email,
        password_hash,
    )
    if made is None:
        return None
    await say(connection, str(id), UserCreated(tier="free", by=by(str(id))))
    return str(id)


def _bound(token_hash: bytes) -> str:
    return f"sign-up {token_hash.hex()}"
