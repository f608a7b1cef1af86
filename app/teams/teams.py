"""Teams themselves: made, found, renamed, closed. One rule: a change and the fact that tells it commit in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.database import Connection
from app.erasure import wishes
from app.erasure.wishes import Wish
from app.identity import OPERATOR, Identity
from app.ids import new_id
from app.outbox import enqueue
from app.teams.standing import require
from events.completions import Tier
from events.message import Envelope, Event
from events.teams import OrganizationChanged, OrganizationCreated, Role

OWNED_MAX: Final = 10
"""Teams that one person may own: each has its own allowance of its tier, so that they are not for the taking."""


class TeamUnknown(Exception):
    """There is no such team, or it is closed."""


class TeamRefused(Exception):
    """What is wanted cannot be; `code` names it for a program, the message says it for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Team:
    id: str
    name: str
    tier: Tier
    status: str
    created_at: datetime
    role: Role | None = None
    """What the person who asks is in it."""


async def create(connection: Connection, owner: str, name: str, *, by: str, tier: Tier = "free") -> Team:
    """A team that this person owns. Raises TeamRefused when he owns too many, or is no person who may."""
    async with connection.transaction():
        status = await connection.fetchval("SELECT status FROM users WHERE id = $1 FOR NO KEY UPDATE", UUID(owner))
        if status != "active":
            raise TeamRefused("person_not_active", "A team is owned by a person whose account is open.")
        owned = await connection.fetchval(
            """SELECT count(*) FROM organization_members m JOIN organizations o ON o.id = m.organization_id
            WHERE m.user_id = $1 AND m.role = 'owner' AND o.status <> 'deleted'""",
            UUID(owner),
        )
        if owned >= OWNED_MAX and by != OPERATOR:
            raise TeamRefused("too_many_teams", f"A person owns at most {OWNED_MAX} teams.")
        row = await connection.fetchrow(
            """INSERT INTO organizations (id, name, tier) VALUES ($1, $2, $3)
            RETURNING id, name, tier, status, created_at""",
            UUID(new_id()),
            name,
            tier,
        )
        made = _team(row, "owner")
        await connection.execute(
            "INSERT INTO organization_members (organization_id, user_id, role) VALUES ($1, $2, 'owner')",
            UUID(made.id),
            UUID(owner),
        )
        await say(connection, made.id, OrganizationCreated(tier=tier, owner=owner, by=by))
        return made


async def of_person(connection: Connection, person: str) -> list[Team]:
    """The open teams that a person belongs to, the oldest first."""
    rows = await connection.fetch(
        """SELECT o.id, o.name, o.tier, o.status, o.created_at, m.role FROM organization_members m
        JOIN organizations o ON o.id = m.organization_id
        WHERE m.user_id = $1 AND o.status <> 'deleted' ORDER BY o.created_at, o.id""",
        UUID(person),
    )
    return [_team(row, row["role"]) for row in rows]


async def find(connection: Connection, account: str, role: Role | None = None) -> Team:
    """Raises TeamUnknown; for an account that is a person's, too."""
    row = await connection.fetchrow(f"{_SELECT} WHERE id = $1 AND status <> 'deleted'", UUID(account))
    if row is None:
        raise TeamUnknown
    return _team(row, role)


async def rename(connection: Connection, actor: Identity, name: str) -> Team:
    """Raises TeamUnknown, and what `require` raises."""
    async with connection.transaction():
        await require(connection, actor, "account.write")
        return await _write(connection, actor.account, name, None, by=actor.by, role=actor.role)


async def set_tier(connection: Connection, team: str, tier: Tier) -> Team:
    """By the operator alone: nobody writes his own tier. Raises TeamUnknown."""
    async with connection.transaction():
        return await _write(connection, team, None, tier, by=OPERATOR)


async def close(connection: Connection, actor: Identity, grace: timedelta) -> Wish:
    """It opens nothing any more, and is erased after the grace time. Raises TeamUnknown, and what `require` raises."""
    async with connection.transaction():
        await require(connection, actor, "account.delete")
        try:
            return await wishes.ask(connection, actor.account, "team", by=actor.by, grace=grace)
        except wishes.UnknownAccount:
            raise TeamUnknown from None


async def everyone(connection: Connection) -> list[Team]:
    """All teams, closed ones too, the newest last."""
    rows = await connection.fetch(f"{_SELECT} ORDER BY created_at, id")
    return [_team(row) for row in rows]


async def say(connection: Connection, team: str, fact: Event) -> None:
    """A fact about a team, once the transaction commits."""
    await enqueue(connection, Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=team, subject=team))


_SELECT: Final = "SELECT id, name, tier, status, created_at FROM organizations"


async def _write(
    connection: Connection, team: str, name: str | None, tier: Tier | None, *, by: str, role: Role | None = None
) -> Team:
    """None: as it is."""
    before = await find(connection, team, role)
    row = await connection.fetchrow(
        """UPDATE organizations SET name = COALESCE($2, name), tier = COALESCE($3, tier), updated_at = now()
        WHERE id = $1 RETURNING id, name, tier, status, created_at""",
        UUID(team),
        name,
        tier,
    )
    after = _team(row, role)
    if after != before:
        await say(connection, team, OrganizationChanged(tier=after.tier, renamed=after.name != before.name, by=by))
    return after


def _team(row: asyncpg.Record | None, role: Role | None = None) -> Team:
    if row is None:
        raise TeamUnknown
    return Team(str(row["id"]), row["name"], row["tier"], row["status"], row["created_at"], role)
