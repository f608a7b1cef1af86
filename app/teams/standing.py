"""What somebody is in an account now, read in the transaction that depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from app.database import Connection
from handlers.rules.roles import Action, Role, may

if TYPE_CHECKING:
    from app.identity import Identity


class RoleLacking(Exception):
    """The role of whoever asks does not allow it; the message is the action it would need."""


class ActorEnded(Exception):
    """Whoever asks is nobody in this account any more, or it is closed."""


async def require(connection: Connection, identity: Identity, action: Action) -> Role:
    """The role of whoever acts, behind a lock on the account's row. Raises ActorEnded, RoleLacking."""
    role = await role_now(connection, identity)
    if role is None:
        raise ActorEnded
    if not may(role, action):
        raise RoleLacking(action)
    return role


async def role_now(connection: Connection, identity: Identity) -> Role | None:
    """The role of whoever acts in the account he acts for; None when he is nobody there any more, or the account or he
    himself is closed. The account's row stays locked until the transaction ends, so that changes come one after the other.
    """
    account = UUID(identity.account)
    if identity.account == identity.person:
        status = await connection.fetchval("SELECT status FROM users WHERE id = $1 FOR NO KEY UPDATE", account)
        return "owner" if status == "active" else None
    status = await connection.fetchval("SELECT status FROM organizations WHERE id = $1 FOR NO KEY UPDATE", account)
    if status != "active":
        return None
    role: Role | None
    if identity.person is None:
        role = await connection.fetchval(
            "SELECT role FROM api_keys WHERE id = $1 AND account = $2 AND revoked_at IS NULL",
            UUID(identity.api_key_id),
            account,
        )
        return role
    role = await connection.fetchval(
        """SELECT m.role FROM organization_members m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND m.user_id = $2 AND u.status = 'active'""",
        account,
        UUID(identity.person),
    )
    return role
