"""Invitations to a team: a word by mail that lets one person in, once, for a week.

One rule: the word alone is not enough; whoever brings it must be the person whose address was invited. Of the word only the
SHA-256 is kept, and the address lies sealed under the team's data key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg

from app import personal
from app.database import Connection, Pool, borrowed
from app.identity import Identity
from app.ids import new_id
from app.mail import Mail, Mails
from app.teams import members
from app.teams.standing import require
from app.teams.teams import Team, TeamRefused, find, say
from app.vault import Vault
from events.teams import InvitationMade, InvitationWithdrawn, Role
from handlers.rules.roles import may_give

GOOD_FOR: Final = timedelta(days=7)
OPEN_MAX: Final = 100
"""Open invitations of one team: a team grows by some at a time, and a mail costs its reader's patience."""

_COLUMN: Final = "organization_invitations.email"
_WORD_BYTES: Final = 32


class InvitationUnknown(Exception):
    """There is no such invitation, it is past its time, or it is meant for somebody else: nobody learns which."""


@dataclass(frozen=True, slots=True)
class Invitation:
    id: str
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Office:
    """What invitations are written with. `public_url` is where people reach this Helix."""

    pool: Pool
    vault: Vault
    mails: Mails
    public_url: str


async def invite(office: Office, actor: Identity, address: str, role: Role) -> Invitation:
    """Invite an address and send the word.

    `address` is in the one form in which addresses are kept. Raises TeamRefused, what `require` raises, Unavailable, Erased.
    """
    word, id = secrets.token_urlsafe(_WORD_BYTES), new_id()
    sealed = await personal.seal(office.vault, actor.account, _COLUMN, id, address)
    already = {each.email for each in await of_team(office, actor.account)}
    async with borrowed(office.pool) as connection, connection.transaction():
        own = await require(connection, actor, "members.write")
        if not may_give(own, role):
            raise TeamRefused("right_lacking", f"You may not give the role {role}.")
        team = await find(connection, actor.account)
        belongs = await connection.fetchval(
            """SELECT EXISTS (SELECT FROM organization_members m JOIN users u ON u.id = m.user_id
            WHERE m.organization_id = $1 AND u.email = $2)""",
            UUID(team.id),
            address,
        )
        if belongs:
            raise TeamRefused("already_member", "This person is a member already.")
        if address in already:
            raise TeamRefused("already_invited", "This address is invited already; withdraw that invitation first.")
        if len(already) >= OPEN_MAX:
            raise TeamRefused("too_many_invitations", f"A team has at most {OPEN_MAX} open invitations.")
        row = await connection.fetchrow(
            """INSERT INTO organization_invitations (id, organization_id, email, role, token_hash, invited_by, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, now() + $7) RETURNING created_at, expires_at""",
            UUID(id),
            UUID(team.id),
            sealed,
            role,
            _hash(word),
            None if actor.person is None else UUID(actor.person),
            GOOD_FOR,
        )
        assert row is not None  # INSERT … RETURNING gives a row or raises
        made = Invitation(id, address, role, row["created_at"], row["expires_at"])
        await say(
            connection, team.id, InvitationMade(invitation=id, role=role, expires_at=made.expires_at, by=actor.by)
        )
        await office.mails.put(connection, _mail(office.public_url, team, made, word), GOOD_FOR)
    return made


async def of_team(office: Office, team: str) -> list[Invitation]:
    """The open ones, the oldest first; those past their time go. Raises Unavailable."""
    async with borrowed(office.pool) as connection:
        await connection.execute(
            "DELETE FROM organization_invitations WHERE organization_id = $1 AND expires_at <= now()", UUID(team)
        )
        rows = await connection.fetch(
            """SELECT id, email, role, created_at, expires_at FROM organization_invitations WHERE organization_id = $1
            ORDER BY created_at, id""",
            UUID(team),
        )
    return [await _invitation(office, team, row) for row in rows]


async def withdraw(connection: Connection, actor: Identity, id: str) -> None:
    """Raises InvitationUnknown, and what `require` raises."""
    async with connection.transaction():
        await require(connection, actor, "members.write")
        try:
            gone = await connection.fetchval(
                "DELETE FROM organization_invitations WHERE organization_id = $1 AND id = $2 RETURNING id",
                UUID(actor.account),
                UUID(id),
            )
        except ValueError:
            raise InvitationUnknown from None
        if gone is None:
            raise InvitationUnknown
        await say(connection, actor.account, InvitationWithdrawn(invitation=str(gone), by=actor.by))


async def accept(office: Office, person: str, word: str, *, by: str) -> Team:
    """The person to whom the address belongs joins. Raises InvitationUnknown, TeamRefused, TeamUnknown, Unavailable."""
    async with borrowed(office.pool) as connection:
        row = await connection.fetchrow(f"{_BY_WORD}", _hash(word))
        own = await connection.fetchval("SELECT email FROM users WHERE id = $1 AND status = 'active'", UUID(person))
    if row is None or own is None:
        raise InvitationUnknown
    team = str(row["organization_id"])
    invited = await personal.read(office.vault, team, _COLUMN, str(row["id"]), row["email"])
    if invited != own:
        raise InvitationUnknown
    async with borrowed(office.pool) as connection, connection.transaction():
        status = await connection.fetchval(
            "SELECT status FROM organizations WHERE id = $1 FOR NO KEY UPDATE", UUID(team)
        )
        still = await connection.fetchrow(f"{_BY_WORD} FOR UPDATE", _hash(word))
        if still is None or status != "active":
            raise InvitationUnknown
        invitation = str(still["id"])
        joined = await members.add(connection, team, person, still["role"], by=by, invitation=invitation)
        await connection.execute("DELETE FROM organization_invitations WHERE id = $1", still["id"])
        return await find(connection, team, joined.role)


_BY_WORD: Final = """SELECT id, organization_id, email, role FROM organization_invitations
WHERE token_hash = $1 AND expires_at > now()"""


async def _invitation(office: Office, team: str, row: asyncpg.Record) -> Invitation:
    id = str(row["id"])
    email = await personal.read(office.vault, team, _COLUMN, id, row["email"])
    return Invitation(id, email or "", row["role"], row["created_at"], row["expires_at"])


def _hash(word: str) -> str:
    return sha256(word.encode()).hexdigest()


def _mail(public_url: str, team: Team, made: Invitation, word: str) -> Mail:
    until = made.expires_at.strftime("%d %B %Y, %H:%M UTC")
    text = f"""You are invited to join the team "{team.name}" on Helix as {made.role}.

To join, open this link and sign in with this address. Who has no account yet signs up with it first.

{public_url}/account/join#{word}

Programs send what stands behind # as {{"token": "…"}} to POST {public_url}/v1/invitations/accept.

It works once, for you alone, until {until}. If you do not know the team, do nothing: nothing happens.
"""
    return Mail(made.email, f"Your invitation to {team.name}", text)
