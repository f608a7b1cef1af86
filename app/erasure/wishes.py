"""The wish to be forgotten: asked for, shown, taken back.

One rule: from the wish on the account opens nothing, and until its time has come nothing is destroyed. The word that takes
it back is told once and kept as a digest.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from app.database import Connection
from app.ids import new_id
from app.mail import Mail, Mails
from app.outbox import enqueue
from events.erasure import ErasureRequested, ErasureWithdrawn, Kind
from events.message import Change, Envelope

WORD: Final = "hx_restore_"
"""What a word that takes an erasure back begins with, so that a scan for secrets finds it."""

_ROW_OF: Final[dict[Kind, str]] = {"person": "users", "team": "organizations"}


_OWNED: Final = """SELECT o.id FROM organization_members m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 AND m.role = 'owner' AND o.status <> 'deleted' ORDER BY o.id"""


class UnknownAccount(Exception):
    """There is none to be erased."""


class OwnsTeams(Exception):
    """These teams would have no owner: hand them over or delete them first."""

    def __init__(self, teams: tuple[str, ...]) -> None:
        super().__init__(f"owner of the teams {', '.join(teams)}: hand them over or delete them first")
        self.teams = teams


class NothingToRestore(Exception):
    """No erasure waits under this word or account: there was none, it was taken back, or it is done."""


@dataclass(frozen=True, slots=True)
class Wish:
    account: str
    kind: Kind
    requested_at: datetime
    erase_at: datetime
    word: str | None = field(repr=False)
    """What takes it back; None when it had been asked for before."""


async def ask(
    connection: Connection, account: str, kind: Kind, *, by: str, grace: timedelta, mails: Mails | None = None
) -> Wish:
    """Close the account now and erase it after the grace time. Asked again, the first wish stands; an earlier end counts.

    `mails`: tell the person, who may not be the one who asks. Raises UnknownAccount, OwnsTeams.
    """
    id = UUID(account)
    async with connection.transaction():
        status = await connection.fetchval(f"SELECT status FROM {_ROW_OF[kind]} WHERE id = $1 FOR UPDATE", id)  # noqa: S608  # ours
        if status is None:
            raise UnknownAccount
        owned = await connection.fetch(_OWNED, id)
        if owned:
            raise OwnsTeams(tuple(str(row["id"]) for row in owned))
        now: datetime = await connection.fetchval("SELECT now()")
        before = await connection.fetchrow("SELECT requested_at, erase_at FROM erasures WHERE account = $1", id)
        if before is not None:
            erase_at = min(before["erase_at"], now + grace)
            await connection.execute("UPDATE erasures SET erase_at = $2 WHERE account = $1", id, erase_at)
            return Wish(account, kind, before["requested_at"], erase_at, None)
        wish = Wish(account, kind, now, now + grace, WORD + secrets.token_urlsafe(32))
        assert wish.word is not None
        await connection.execute(
            """INSERT INTO erasures (account, kind, requested_at, requested_by, erase_at, status_before, restore_hash)
            VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            id,
            kind,
            now,
            by,
            wish.erase_at,
            status,
            _digest(wish.word),
        )
        await _stand(connection, account, kind, "deleted")
        await say(connection, account, ErasureRequested(kind=kind, erase_at=wish.erase_at, by=by))
        if mails is not None and kind == "person":
            address = await connection.fetchval("SELECT email FROM users WHERE id = $1", id)
            await mails.put(connection, _letter(address, wish))
    return wish


async def find(connection: Connection, account: str) -> Wish | None:
    """The wish that waits for its time; None when there is none."""
    row = await connection.fetchrow(
        "SELECT account, kind, requested_at, erase_at FROM erasures WHERE account = $1 AND erased_at IS NULL",
        UUID(account),
    )
    return None if row is None else Wish(str(row["account"]), row["kind"], row["requested_at"], row["erase_at"], None)


async def take_back(connection: Connection, word: str) -> str:
    """By the word that was told → the account. Raises NothingToRestore."""
    async with connection.transaction():
        account = await connection.fetchval("SELECT account FROM erasures WHERE restore_hash = $1", _digest(word))
        if account is None:
            raise NothingToRestore
        return await restore(connection, str(account), by=f"person:{account}")


async def restore(connection: Connection, account: str, *, by: str) -> str:
    """Take it back: the account is as it was. For who has proven otherwise that he may. Raises NothingToRestore."""
    async with connection.transaction():
        row = await connection.fetchrow(
            "DELETE FROM erasures WHERE account = $1 AND erased_at IS NULL RETURNING kind, status_before", UUID(account)
        )
        if row is None:
            raise NothingToRestore
        await _stand(connection, account, row["kind"], row["status_before"])
        await say(connection, account, ErasureWithdrawn(kind=row["kind"], by=by))
    return account


async def say(
    connection: Connection, account: str, fact: Change, *, id: str | None = None, at: datetime | None = None
) -> None:
    """The fact of a change to an account, in the transaction that makes it true."""
    envelope = Envelope.begin(fact, id=id or new_id(), at=at or datetime.now(UTC), account=account, subject=account)
    await enqueue(connection, envelope)


async def _stand(connection: Connection, account: str, kind: Kind, status: str) -> None:
    await connection.execute(
        f"UPDATE {_ROW_OF[kind]} SET status = $2, updated_at = now() WHERE id = $1",  # noqa: S608  # ours
        UUID(account),
        status,
    )


def _digest(word: str) -> str:
    return sha256(word.encode()).hexdigest()


def _letter(address: str, wish: Wish) -> Mail:
    text = (
        f"Your account is closed. On {wish.erase_at:%Y-%m-%d} at {wish.erase_at:%H:%M} UTC everything it holds is"
        " destroyed for good.\n\n"
        "To take this back before then, sign in, or send this word to POST /v1/users/me/restore as"
        f' {{"token": "…"}}:\n\n{wish.word}\n\n'
        "If it was not you who asked for this, take it back now and change your password.\n"
    )
    return Mail(address, "Your account will be erased", text)
