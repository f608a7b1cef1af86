"""Who belongs to a team, and as what.

One rule: nobody gives or takes a role that can do what his own cannot, and a team always has exactly one owner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from app.database import Connection
from app.identity import OPERATOR, Identity
from app.teams.standing import RoleLacking, require
from app.teams.teams import TeamRefused, TeamUnknown, say
from events.accounts import KeyRevoked
from events.teams import InvitationWithdrawn, MemberChanged, MemberJoined, MemberLeft, OwnershipTransferred, Role
from handlers.rules.roles import may_give

MEMBERS_MAX: Final = 500
"""More than any team that one person looks over; they are shown on one page."""


class MemberUnknown(Exception):
    """The team has no such member."""


@dataclass(frozen=True, slots=True)
class Member:
    person: str
    email: str
    role: Role
    joined_at: datetime


async def of_team(connection: Connection, team: str) -> list[Member]:
    """All members, those who came first at first."""
    rows = await connection.fetch(f"{_SELECT} WHERE m.organization_id = $1 ORDER BY m.joined_at, u.id", UUID(team))
    return [_member(row) for row in rows]


async def add(
    connection: Connection, team: str, person: str, role: Role, *, by: str, invitation: str | None = None
) -> Member:
    """A new member, within the transaction of whoever lets him in. Raises TeamRefused when he is one, or there is no room."""
    count = await connection.fetchval(
        "SELECT count(*) FROM organization_members WHERE organization_id = $1", UUID(team)
    )
    if count >= MEMBERS_MAX:
        raise TeamRefused("team_full", f"A team has at most {MEMBERS_MAX} members.")
    added = await connection.execute(
        """INSERT INTO organization_members (organization_id, user_id, role) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING""",
        UUID(team),
        UUID(person),
        role,
    )
    if added != "INSERT 0 1":
        raise TeamRefused("already_member", "This person is a member already.")
    await say(connection, team, MemberJoined(person=person, role=role, invitation=invitation, by=by))
    return await _get(connection, team, person)


async def change_role(connection: Connection, actor: Identity, person: str, role: Role) -> Member:
    """Raises MemberUnknown, RoleLacking (also for the owner, whose role is transferred), and what `require` raises."""
    async with connection.transaction():
        own = await require(connection, actor, "members.write")
        member = await _get(connection, actor.account, person)
        return await _set_role(connection, actor.account, member, role, own, by=actor.by)


async def change_role_by_operator(connection: Connection, team: str, person: str, role: Role) -> Member:
    """The same by hand. Raises TeamUnknown, MemberUnknown, RoleLacking."""
    async with connection.transaction():
        await _lock(connection, team)
        return await _set_role(connection, team, await _get(connection, team, person), role, "owner", by=OPERATOR)


async def remove(connection: Connection, actor: Identity, person: str) -> Member:
    """He is no member any more, and his keys for the team are revoked. Raises as `change_role` does."""
    async with connection.transaction():
        own = await require(connection, actor, "members.write")
        member = await _get(connection, actor.account, person)
        if not may_give(own, member.role):
            raise RoleLacking("ownership.transfer" if member.role == "owner" else "members.write")
        await _take_out(connection, actor.account, member, by=actor.by)
        return member


async def remove_by_operator(connection: Connection, team: str, person: str) -> Member:
    """The same by hand. Raises TeamUnknown, MemberUnknown, TeamRefused for the owner."""
    async with connection.transaction():
        await _lock(connection, team)
        member = await _get(connection, team, person)
        if member.role == "owner":
            raise TeamRefused("owner_stays", "A team is never without an owner: transfer it first.")
        await _take_out(connection, team, member, by=OPERATOR)
        return member


async def leave(connection: Connection, actor: Identity) -> Member:
    """Raises TeamRefused for the owner and for a team's key, which is no member; and what `require` raises."""
    async with connection.transaction():
        await require(connection, actor, "self.write")
        if actor.person is None:
            raise TeamRefused("not_a_person", "A team's own key is no member; revoke it instead.")
        member = await _get(connection, actor.account, actor.person)
        if member.role == "owner":
            raise TeamRefused("owner_stays", "A team is never without an owner: transfer it first, or delete it.")
        await _take_out(connection, actor.account, member, by=actor.by)
        return member


async def transfer(connection: Connection, actor: Identity, person: str) -> Member:
    """Another member owns the team from now on, and who owned it is its admin.

    Raises MemberUnknown, TeamRefused when he owns it already, and what `require` raises.
    """
    async with connection.transaction():
        await require(connection, actor, "ownership.transfer")
        return await _transfer(connection, actor.account, person, by=actor.by)


async def transfer_by_operator(connection: Connection, team: str, person: str) -> Member:
    """The same by hand. Raises TeamUnknown, MemberUnknown, TeamRefused."""
    async with connection.transaction():
        await _lock(connection, team)
        return await _transfer(connection, team, person, by=OPERATOR)


_SELECT: Final = """SELECT m.user_id, m.role, m.joined_at, u.email FROM organization_members m
JOIN users u ON u.id = m.user_id"""


async def _lock(connection: Connection, team: str) -> None:
    status = await connection.fetchval("SELECT status FROM organizations WHERE id = $1 FOR NO KEY UPDATE", UUID(team))
    if status in (None, "deleted"):
        raise TeamUnknown


async def _transfer(connection: Connection, team: str, person: str, *, by: str) -> Member:
    member = await _get(connection, team, person)
    if member.role == "owner":
        raise TeamRefused("already_owner", "This person owns the team already.")
    before = await connection.fetchval(
        """UPDATE organization_members SET role = 'admin' WHERE organization_id = $1 AND role = 'owner'
        RETURNING user_id""",
        UUID(team),
    )
    await connection.execute(
        "UPDATE organization_members SET role = 'owner' WHERE organization_id = $1 AND user_id = $2",
        UUID(team),
        UUID(person),
    )
    await say(connection, team, OwnershipTransferred(before=str(before), person=person, by=by))
    return replace(member, role="owner")


async def _set_role(connection: Connection, team: str, member: Member, role: Role, giver: Role, *, by: str) -> Member:
    if "owner" in (member.role, role):
        raise RoleLacking("ownership.transfer")
    if not (may_give(giver, member.role) and may_give(giver, role)):
        raise RoleLacking("members.write")
    if role == member.role:
        return member
    await connection.execute(
        "UPDATE organization_members SET role = $3 WHERE organization_id = $1 AND user_id = $2",
        UUID(team),
        UUID(member.person),
        role,
    )
    await _withdraw_his_invitations(connection, team, member.person, by=by)
    await say(connection, team, MemberChanged(person=member.person, before=member.role, role=role, by=by))
    return replace(member, role=role)


async def _take_out(connection: Connection, team: str, member: Member, *, by: str) -> None:
    keys = await connection.fetch(
        """UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1 AND user_id = $2 AND revoked_at IS NULL
        RETURNING id, key_hash""",
        UUID(team),
        UUID(member.person),
    )
    for key in keys:
        await say(connection, team, KeyRevoked(api_key_id=str(key["id"]), key_hash=key["key_hash"], by=by))
    await _withdraw_his_invitations(connection, team, member.person, by=by)
    await connection.execute(
        "DELETE FROM organization_members WHERE organization_id = $1 AND user_id = $2", UUID(team), UUID(member.person)
    )
    await say(connection, team, MemberLeft(person=member.person, role=member.role, keys=len(keys), by=by))


async def _withdraw_his_invitations(connection: Connection, team: str, person: str, *, by: str) -> None:
    """Who has lost his say has not still invited somebody to more than he could give now."""
    gone = await connection.fetch(
        "DELETE FROM organization_invitations WHERE organization_id = $1 AND invited_by = $2 RETURNING id",
        UUID(team),
        UUID(person),
    )
    for row in gone:
        await say(connection, team, InvitationWithdrawn(invitation=str(row["id"]), by=by))


async def _get(connection: Connection, team: str, person: str) -> Member:
    try:
        id = UUID(person)
    except ValueError:
        raise MemberUnknown from None
    row = await connection.fetchrow(f"{_SELECT} WHERE m.organization_id = $1 AND m.user_id = $2", UUID(team), id)
    if row is None:
        raise MemberUnknown
    return _member(row)


def _member(row: asyncpg.Record) -> Member:
    return Member(str(row["user_id"]), row["email"], row["role"], row["joined_at"])
