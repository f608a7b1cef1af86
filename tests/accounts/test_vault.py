"""Data keys in a real Postgres: made once, renewed, wrapped anew, destroyed."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from app.database import Pool, Unavailable, open_pool
from app.ids import new_id
from app.key_ring import KeyRing, rewrap
from app.vault import BOX_KEEP_S, Erased, Tampered, Vault
from tests.accounts.records import HandClock

PLACE = ("question", "req_1")


async def test_two_processes_share_an_accounts_key(pool: Pool, ring: KeyRing) -> None:
    account = new_id()
    sealed = await Vault(pool, ring).seal(account, *PLACE, b"hello")

    assert await Vault(pool, ring).open(account, *PLACE, sealed) == b"hello"


async def test_twenty_first_uses_at_once_make_one_data_key(pool: Pool, ring: KeyRing) -> None:
    account = new_id()
    vaults = [Vault(pool, ring) for _ in range(20)]

    sealed = await asyncio.gather(*(vault.seal(account, *PLACE, b"hello") for vault in vaults))

    assert await pool.fetchval("SELECT count(*) FROM data_keys") == 1
    for vault in vaults:
        assert [await vault.open(account, *PLACE, each) for each in sealed] == [b"hello"] * 20


async def test_one_process_reads_an_accounts_key_once(pool: Pool, ring: KeyRing) -> None:
    account = new_id()
    vault = Vault(pool, ring)
    boxes = await asyncio.gather(*(vault.box(account) for _ in range(50)))

    assert len(set(map(id, boxes))) == 1
    assert vault.cached(account) is boxes[0]


async def test_one_account_cannot_open_what_another_sealed(pool: Pool, ring: KeyRing) -> None:
    vault = Vault(pool, ring)
    sealed = await vault.seal(new_id(), *PLACE, b"hello")

    with pytest.raises(Tampered):
        await vault.open(new_id(), *PLACE, sealed)


async def test_a_renewed_key_seals_when_every_process_must_have_read_it_and_the_old_one_still_opens(
    pool: Pool, ring: KeyRing
) -> None:
    account, clock = new_id(), HandClock()
    slow = Vault(pool, ring, clock=clock)
    old = await slow.seal(account, *PLACE, b"hello")
    renewing = Vault(pool, ring)
    assert await renewing.renew(account) == 2

    meanwhile = await renewing.seal(account, *PLACE, b"hello")
    assert await slow.open(account, *PLACE, meanwhile) == b"hello"

    await pool.execute("UPDATE data_keys SET created_at = created_at - make_interval(secs => $1)", BOX_KEEP_S)
    clock.seconds += BOX_KEEP_S
    fresh = Vault(pool, ring)
    new = await fresh.seal(account, *PLACE, b"hello")
    assert (old[4], meanwhile[4], new[4]) == (1, 1, 2)
    assert await slow.open(account, *PLACE, new) == b"hello"
    assert await fresh.open(account, *PLACE, old) == b"hello"


async def test_what_a_destroyed_account_sealed_is_erased_everywhere(pool: Pool, ring: KeyRing) -> None:
    account, other = new_id(), new_id()
    here, there = Vault(pool, ring), Vault(pool, ring)
    sealed = await here.seal(account, *PLACE, b"hello")
    await here.renew(account)
    await there.open(account, *PLACE, sealed)
    kept = await here.seal(other, *PLACE, b"hello")

    await here.destroy(account)
    await here.destroy(account)
    there.forget(account)

    for vault in (here, there, Vault(pool, ring)):
        with pytest.raises(Erased):
            await vault.open(account, *PLACE, sealed)
        with pytest.raises(Erased):
            await vault.seal(account, *PLACE, b"again")
        with pytest.raises(Erased):
            await vault.renew(account)
    assert (
        await pool.fetchval("SELECT count(*) FROM data_keys WHERE account = $1::uuid AND wrapped IS NULL", account) == 2
    )
    assert await here.open(other, *PLACE, kept) == b"hello"


async def test_an_account_destroyed_before_its_first_use_stays_destroyed(pool: Pool, ring: KeyRing) -> None:
    account = new_id()
    await Vault(pool, ring).destroy(account)

    with pytest.raises(Erased):
        await Vault(pool, ring).seal(account, *PLACE, b"hello")


async def test_a_destroyed_key_is_forgotten_in_time_where_the_word_did_not_arrive(pool: Pool, ring: KeyRing) -> None:
    account, clock = new_id(), HandClock()
    deaf = Vault(pool, ring, clock=clock)
    sealed = await deaf.seal(account, *PLACE, b"hello")
    await Vault(pool, ring).destroy(account)

    assert await deaf.open(account, *PLACE, sealed) == b"hello"
    clock.seconds += BOX_KEEP_S
    with pytest.raises(Erased):
        await deaf.open(account, *PLACE, sealed)


async def test_the_key_above_can_be_exchanged(pool: Pool) -> None:
    old_text, new_text = secrets.token_hex(32), secrets.token_hex(32)
    old, both, new = (KeyRing.parse(text) for text in (old_text, f"{new_text},{old_text}", new_text))
    accounts = [new_id() for _ in range(5)]
    sealed = {account: await Vault(pool, old).seal(account, *PLACE, b"hello") for account in accounts}
    await Vault(pool, old).destroy(accounts[4])

    with pytest.raises(Unavailable, match=old.current):
        await Vault(pool, new).box(accounts[0])
    async with pool.acquire() as connection:
        assert await rewrap(connection, both) == 4
        assert await rewrap(connection, both) == 0

    vault = Vault(pool, new)
    for account in accounts[:4]:
        assert await vault.open(account, *PLACE, sealed[account]) == b"hello"
    with pytest.raises(Erased):
        await vault.open(accounts[4], *PLACE, sealed[accounts[4]])
    with pytest.raises(Unavailable, match=new.current):
        await Vault(pool, old).box(accounts[0])


async def test_without_postgres_the_known_boxes_go_on_and_the_others_are_told(ring: KeyRing) -> None:
    async with await open_pool("postgresql://nobody@127.0.0.1:1/nothing", name="tests", connections_max=1) as nowhere:
        with pytest.raises(Unavailable):
            await Vault(nowhere, ring).seal(new_id(), *PLACE, b"hello")
