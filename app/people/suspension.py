"""The operator shuts a person out, and lets him in again. One rule: nothing of his is lost by it, and nothing of it opens."""

from __future__ import annotations

from app.accounts import AccountRefused, email_address
from app.database import Connection
from app.identity import OPERATOR
from app.people.saying import say
from events.people import UserResumed, UserSuspended


async def suspend(connection: Connection, email: str) -> str:
    """Every process that is told refuses his keys and sessions → his id. Doing it again changes nothing.

    Raises AccountRefused when there is no such person, or he is leaving.
    """
    return await _set(connection, email, "active", "suspended", UserSuspended(by=OPERATOR))


async def resume(connection: Connection, email: str) -> str:
    """Raises AccountRefused."""
    return await _set(connection, email, "suspended", "active", UserResumed(by=OPERATOR))


async def _set(connection: Connection, email: str, old: str, new: str, fact: UserSuspended | UserResumed) -> str:
    address = email_address(email)
    async with connection.transaction():
        row = await connection.fetchrow("SELECT id, status FROM users WHERE email = $1 FOR UPDATE", address)
        if row is None:
            raise AccountRefused(f"{address} is no user")
        if row["status"] == old:
            await connection.execute("UPDATE users SET status = $2, updated_at = now() WHERE id = $1", row["id"], new)
            await say(connection, str(row["id"]), fact)
        elif row["status"] != new:
            raise AccountRefused(f"{address} is {row['status']}: see `./helix erasure`")
    return str(row["id"])
