"""Users and keys in a real Postgres, from the operator's hand to the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from app import accounts, changes
from app.accounts import AccountRefused
from app.api_keys import key_hash, key_prefix, new_key
from app.changes import Change
from app.database import Connection, Pool
from app.identity import Identities, Unknown
from app.identity_records import PostgresRecords
from app.key_ring import KeyRing
from app.vault import Vault
from events import catalog
from events.accounts import KeyCreated, KeyRevoked, UserCreated
from tests.accounts.records import HandClock

ADDRESS = "alice@example.org"
SOON_S = 5.0
"""Much longer than a message takes, much shorter than a minute."""


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


async def facts(connection: Connection) -> list[object]:
    rows = await connection.fetch("SELECT envelope FROM outbox ORDER BY created_at, id")
    return [catalog.read(row["envelope"]).body for row in rows]


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110  # what is waited for says nothing: it forgets
            await asyncio.sleep(0.005)


async def test_a_key_opens_the_door_for_its_user(connection: Connection, pool: Pool) -> None:
    user = await accounts.create_user(connection, ADDRESS, "pro")
    key = new_key()
    made = await accounts.create_key(connection, ADDRESS, key, scopes=["chat"], rate_limit_override=60)

    identity = await Identities(PostgresRecords(pool), "redis://127.0.0.1:1").of(key)

    assert (identity.account, identity.api_key_id, identity.tier) == (user.id, made.id, "pro")
    assert (identity.scopes, identity.rate_limit_override, identity.operator) == (frozenset({"chat"}), 60, False)


async def test_each_change_is_told_as_a_fact(connection: Connection) -> None:
    await accounts.create_user(connection, ADDRESS, "free")
    key = new_key()
    made = await accounts.create_key(connection, ADDRESS, key)
    await accounts.revoke_key(connection, made.id)
    await accounts.revoke_key(connection, made.id)

    assert await facts(connection) == [
        UserCreated(tier="free", by="operator"),
        KeyCreated(api_key_id=made.id, prefix=key_prefix(key), scopes=("chat", "agents", "prompts"), by="operator"),
        KeyRevoked(api_key_id=made.id, key_hash=key_hash(key), by="operator"),
    ]


async def test_one_address_is_one_user_however_it_is_written(connection: Connection) -> None:
    await accounts.create_user(connection, "Alice@Example.ORG ")

    with pytest.raises(AccountRefused, match="already"):
        await accounts.create_user(connection, ADDRESS)
    assert [user.email for user in await accounts.list_users(connection)] == [ADDRESS]
    assert len(await facts(connection)) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "alice",
        "alice@",
        "@example.org",
        "a b@example.org",
        "a@b",
        "a@b..org",
        "a@-b.org",
        "a@b.org\n.x",
        "a@b.org,c@d.org",
        "a\x00@b.org",
        "a" * 65 + "@b.org",
        "a@" + "b" * 250 + ".org",
        "a@" + ".".join(["b" * 60] * 5) + ".org",
        "\ud800@b.org",
    ],
)
def test_what_is_no_address_is_refused(nonsense: str) -> None:
    with pytest.raises(AccountRefused, match="not an e-mail address"):
        accounts.email_address(nonsense)


async def test_what_makes_no_sense_of_a_key_is_refused_and_leaves_nothing(connection: Connection) -> None:
    await accounts.create_user(connection, ADDRESS)
    key = new_key()

    for refusal, attempt in {
        "is no user": accounts.create_key(connection, "bob@example.org", key),
        "no such scope: root": accounts.create_key(connection, ADDRESS, key, scopes=["chat", "root"]),
        "printable": accounts.create_key(connection, ADDRESS, key, name="a\nb"),
        "at most 255": accounts.create_key(connection, ADDRESS, key, name="a" * 256),
        "at least one": accounts.create_key(connection, ADDRESS, key, rate_limit_override=0),
        "not an API key": accounts.create_key(connection, ADDRESS, "sk-123"),
    }.items():
        with pytest.raises(AccountRefused, match=refusal):
            await attempt

    assert await accounts.list_keys(connection) == []
    assert await facts(connection) == [UserCreated(tier="free", by="operator")]


async def test_a_key_can_be_named_by_its_id_its_prefix_or_itself(connection: Connection) -> None:
    await accounts.create_user(connection, ADDRESS)
    for named in (lambda key, id: id, lambda key, id: key_prefix(key), lambda key, id: key[:12], lambda key, id: key):
        key = new_key()
        made = await accounts.create_key(connection, ADDRESS, key)

        revoked = await accounts.revoke_key(connection, named(key, made.id))

        assert (revoked.key.id, revoked.key_hash) == (made.id, key_hash(key))
        assert revoked.key.revoked_at is not None


async def test_a_prefix_that_fits_no_key_or_several_revokes_nothing(connection: Connection) -> None:
    await accounts.create_user(connection, ADDRESS)
    first = new_key()
    second = new_key()
    while key_prefix(second) != key_prefix(first):
        second = new_key()
    ids = [(await accounts.create_key(connection, ADDRESS, key)).id for key in (first, second)]

    with pytest.raises(AccountRefused, match=f"{ids[0]}, {ids[1]}"):
        await accounts.revoke_key(connection, key_prefix(first))
    for nobody in ("hx_user_", "", first[:13], "%", new_key(), "01900000-0000-7000-8000-000000000000"):
        with pytest.raises(AccountRefused, match="no such key"):
            await accounts.revoke_key(connection, nobody)
    assert all(key.revoked_at is None for key in await accounts.list_keys(connection, ADDRESS))


async def test_ensuring_twice_is_ensuring_once(connection: Connection, database_url: str) -> None:
    key = new_key()
    first, second = [await accounts.ensure_user(database_url, ADDRESS, "enterprise") for _ in range(2)]
    for id in (first, second):
        await accounts.ensure_key(database_url, id, key, name="operator", scopes=["admin"])

    assert first == second
    assert len(await accounts.list_keys(connection)) == 1
    assert [type(fact) for fact in await facts(connection)] == [UserCreated, KeyCreated]


async def test_a_revoked_key_is_refused_by_every_process_that_hears_of_it(
    connection: Connection, pool: Pool, cache_url: str
) -> None:
    await accounts.create_user(connection, ADDRESS)
    key = new_key()
    await accounts.create_key(connection, ADDRESS, key)
    clock = HandClock()  # stands still: nothing ends by itself
    async with (
        Identities(PostgresRecords(pool), cache_url, clock=clock) as here,
        Identities(PostgresRecords(pool), cache_url, clock=clock) as there,
    ):
        await asyncio.gather(here.changes.heard.wait(), there.changes.heard.wait())
        await asyncio.gather(here.of(key), there.of(key))

        revoked = await accounts.revoke_key(connection, key)
        assert here.cached(key) is not None
        await changes.tell(cache_url, Change("key", revoked.key_hash))

        for process in (here, there):
            await eventually(lambda process=process: process.cached(key) is None)  # type: ignore[misc]  # bound now
            with pytest.raises(Unknown, match="revoked"):
                await process.of(key)


async def test_a_key_that_is_used_says_when(connection: Connection, pool: Pool) -> None:
    await accounts.create_user(connection, ADDRESS)
    key = new_key()
    await accounts.create_key(connection, ADDRESS, key)

    async with Identities(PostgresRecords(pool), "redis://127.0.0.1:1") as asked:
        await asked.of(key)
    [first] = await accounts.list_keys(connection)
    async with Identities(PostgresRecords(pool), "redis://127.0.0.1:1") as asked:
        await asked.of(key)
    [second] = await accounts.list_keys(connection)

    assert first.last_used_at is not None
    assert second.last_used_at == first.last_used_at, "written again within the minute"


async def test_an_expired_key_opens_nothing(connection: Connection, pool: Pool) -> None:
    await accounts.create_user(connection, ADDRESS)
    key = new_key()
    await accounts.create_key(connection, ADDRESS, key, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    with pytest.raises(Unknown, match="expired"):
        await Identities(PostgresRecords(pool), "redis://127.0.0.1:1").of(key)


async def test_neither_a_plain_key_nor_content_lies_in_any_table(
    connection: Connection, pool: Pool, ring: KeyRing
) -> None:
    user = await accounts.create_user(connection, ADDRESS)
    key = new_key()
    made = await accounts.create_key(connection, ADDRESS, key, name="canary")
    content = b"canary content"
    sealed = await Vault(pool, ring).seal(user.id, "question", "req_1", content)
    await accounts.revoke_key(connection, made.id)

    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    written = ""
    for table in tables:
        written += "\n".join(str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM {table[0]} t"))

    assert key_hash(key) in written and made.id in written, "the canary would be seen"
    envelopes = b"".join([row["envelope"] for row in await connection.fetch("SELECT envelope FROM outbox")])
    for secret in (key, key.removeprefix("hx_user_"), content.decode(), content.hex()):
        assert secret not in written
        assert secret.encode() not in envelopes
    assert content not in sealed
    assert ADDRESS.encode() not in envelopes
