"""What an account wants of the router, in a real Postgres: written, told as a fact, and known with each of its keys."""

from __future__ import annotations

import pytest

from app import accounts, routing_policies
from app.api_keys import new_key
from app.database import Connection, Pool, Unavailable
from app.identity import Identities
from app.identity_records import PostgresRecords
from events import catalog
from events.accounts import RoutingChanged
from handlers.rules.policy import AccountPolicy

POLICY = AccountPolicy(aliases={"fast": "auto"}, never=("xai",), optimize="speed", cache_ttl_s=60)


async def account(connection: Connection) -> tuple[str, str]:
    """Its id and a key."""
    user = await accounts.create_user(connection, "alice@example.org", "pro")
    key = new_key()
    await accounts.create_key(connection, "alice@example.org", key)
    return user.id, key


async def facts(connection: Connection) -> list[RoutingChanged]:
    rows = await connection.fetch("SELECT envelope FROM outbox ORDER BY created_at, id")
    said = [catalog.read(row["envelope"]).body for row in rows]
    return [fact for fact in said if isinstance(fact, RoutingChanged)]


async def test_a_policy_is_known_with_the_key_until_it_is_removed(pool: Pool) -> None:
    async with pool.acquire() as connection:
        id, key = await account(connection)
        written = await routing_policies.put(connection, id, POLICY)

        assert await routing_policies.find(connection, id) == (POLICY, written)
        identity = await Identities(PostgresRecords(pool), "redis://127.0.0.1:1").of(key)
        assert identity.policy == POLICY

        assert await routing_policies.remove(connection, id)
        assert not await routing_policies.remove(connection, id)
        assert await routing_policies.find(connection, id) is None


async def test_each_change_is_told_as_a_fact_without_the_accounts_own_words(pool: Pool) -> None:
    async with pool.acquire() as connection:
        id, _ = await account(connection)
        await routing_policies.put(connection, id, POLICY)
        await routing_policies.remove(connection, id)

        assert await facts(connection) == [
            RoutingChanged(aliases=1, fallbacks=0, only=(), never=("xai",), optimize="speed", cache_ttl_s=60),
            RoutingChanged(aliases=0, fallbacks=0, only=(), never=(), optimize=None, cache_ttl_s=None),
        ]


async def test_a_policy_that_a_newer_process_wrote_is_not_passed_over(pool: Pool) -> None:
    async with pool.acquire() as connection:
        id, key = await account(connection)
        await routing_policies.put(connection, id, POLICY)
        await connection.execute("""UPDATE routing_policies SET policy = policy || '{"newer": 1}'""")

    with pytest.raises(Unavailable):
        await Identities(PostgresRecords(pool), "redis://127.0.0.1:1").of(key)


async def test_who_is_erased_leaves_no_policy(pool: Pool) -> None:
    async with pool.acquire() as connection:
        id, _ = await account(connection)
        await routing_policies.put(connection, id, POLICY)
        await connection.execute("DELETE FROM users")

        assert await routing_policies.find(connection, id) is None
