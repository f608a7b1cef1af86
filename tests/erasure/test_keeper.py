"""The projector's task: erasures that are due, accounts that an older table has brought back, what the log server holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest

from app import accounts
from app.database import Connection
from app.erasure import keeper, wishes
from app.key_ring import KeyRing
from app.log import Log, keys
from app.settings import Settings
from tests.conftest import MakeSettings
from tests.projections import BOB


@pytest.fixture
def chosen(make_settings: MakeSettings) -> Settings:
    return make_settings()


@pytest.fixture
async def log(chosen: Settings) -> AsyncIterator[Log]:
    opened = await Log(chosen.log, name="test").open()
    await opened.declare()
    try:
        yield opened
    finally:
        await opened.close()


async def kept_until(chosen: Settings, log: Log, ring: KeyRing, done: Callable[[], Awaitable[bool]]) -> None:
    task = asyncio.create_task(keeper.keep(chosen, log, ring, None))
    try:
        async with asyncio.timeout(20):
            while not await done():  # noqa: ASYNC110  # rows of Postgres wake nobody
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_what_bears_the_name_of_the_erased_leaves_the_log_server(
    chosen: Settings, log: Log, ring: KeyRing, connection: Connection
) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    for account, request in ((alice, "req_alice"), (BOB, "req_bob")):
        await log.command("SET", keys.idempotency(0, account, "digest"), request)
        await log.command("HSET", keys.request(0, request), "account", account, "state", "completed")
        await log.command("SET", keys.live(0, request), "frames")
        await log.command("XADD", keys.parked(0), "*", "__data__", f'{{"account": "{account}"}}', "why", "broken")
    await wishes.ask(connection, alice, "person", by="operator", grace=timedelta())

    async def cleared() -> bool:
        return bool(await connection.fetchval("SELECT cleared_at IS NOT NULL FROM erasures"))

    await kept_until(chosen, log, ring, cleared)

    names = {name.decode() for name in await log.command("KEYS", "*")}
    about = {name for name in names if alice in name or "req_alice" in name}
    assert about == {keys.deleted(0, "req_alice")}, "a mark for followers, which ends by itself"
    assert {keys.idempotency(0, BOB, "digest"), keys.request(0, "req_bob"), keys.live(0, "req_bob")} <= names
    [letter] = await log.command("XRANGE", keys.parked(0), "-", "+")
    assert BOB.encode() in letter[1][1]


async def test_whom_an_older_table_brings_back_beside_a_newer_log_is_erased_again(
    chosen: Settings, log: Log, ring: KeyRing, connection: Connection
) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    bob = (await accounts.create_user(connection, "bob@example.org")).id
    await connection.execute("INSERT INTO erased_accounts VALUES ($1, now(), gen_random_uuid())", UUID(alice))

    async def gone() -> bool:
        return [row["id"] for row in await connection.fetch("SELECT id FROM users")] == [UUID(bob)]

    await kept_until(chosen, log, ring, gone)

    assert await connection.fetchval("SELECT wrapped IS NULL FROM data_keys WHERE account = $1", UUID(alice))
