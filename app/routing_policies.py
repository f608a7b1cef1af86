"""What accounts want of the router, as rows of Postgres.

One rule: a change and the fact that tells it commit in one transaction. The names in a policy are an account's own words,
so the fact counts them and does not repeat them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from pydantic import ValidationError

from app.database import Connection, Unavailable
from app.ids import new_id
from app.outbox import enqueue
from events.accounts import RoutingChanged
from events.message import Envelope
from handlers.rules.policy import AccountPolicy


async def find(connection: Connection, account: str) -> tuple[AccountPolicy, datetime] | None:
    """The account's policy and when it was written; None where it has none."""
    row = await connection.fetchrow("SELECT policy, updated_at FROM routing_policies WHERE user_id = $1", UUID(account))
    return None if row is None else (read(row["policy"]), row["updated_at"])


async def put(connection: Connection, account: str, policy: AccountPolicy, *, by: str | None = None) -> datetime:
    """Write the whole policy anew → when that was."""
    async with connection.transaction():
        written: datetime = await connection.fetchval(
            """INSERT INTO routing_policies (user_id, policy, person, organization_id)
            VALUES ($1, $2, (SELECT id FROM users WHERE id = $1), (SELECT id FROM organizations WHERE id = $1))
            ON CONFLICT (user_id) DO UPDATE SET policy = EXCLUDED.policy, updated_at = now() RETURNING updated_at""",
            UUID(account),
            policy.model_dump_json(exclude_defaults=True),
        )
        await _say(connection, account, policy, by)
    return written


async def remove(connection: Connection, account: str, *, by: str | None = None) -> bool:
    """Whether there was one."""
    async with connection.transaction():
        gone = await connection.fetchval(
            "DELETE FROM routing_policies WHERE user_id = $1 RETURNING user_id", UUID(account)
        )
        if gone is not None:
            await _say(connection, account, AccountPolicy(), by)
    return gone is not None


def read(policy: str) -> AccountPolicy:
    """A row's JSON. Raises Unavailable for what a newer process has written and this one does not understand: to go on
    without it could ask a provider that the account never wants asked."""
    try:
        return AccountPolicy.model_validate_json(policy)
    except ValidationError:
        raise Unavailable("the account's routing policy is of a newer kind") from None


async def _say(connection: Connection, account: str, policy: AccountPolicy, by: str | None) -> None:
    fact = RoutingChanged(
        aliases=len(policy.aliases),
        fallbacks=len(policy.fallbacks),
        only=policy.only,
        never=policy.never,
        optimize=policy.optimize,
        cache_ttl_s=policy.cache_ttl_s,
        by=by,
    )
    envelope = Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account, subject=account)
    await enqueue(connection, envelope)
