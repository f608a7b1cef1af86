"""One account is forgotten, whole, and nobody else; it can be taken back until then, and proven afterwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app import accounts
from app.api_keys import new_key
from app.database import Connection, Pool, open_pool
from app.erasure import wishes
from app.erasure.carrying_out import erase, repeat_all
from app.erasure.places import GO, KEPT, PLACES
from app.erasure.proof import examine
from app.erasure.receipt import NoReceipt, Signed, verify
from app.key_ring import KeyRing
from app.mail import Mails
from app.vault import Erased, Vault
from events.catalog import read
from events.erasure import AccountErased, ErasureRequested, ErasureWithdrawn
from projections import PROJECTIONS
from projections.applying import apply
from projections.projection import Seen
from tests.projections import adjusted, finished, responded

MONTH = timedelta(days=30)
NOW = timedelta()


async def made(connection: Connection, database_url: str, name: str) -> str:
    """A person with something in every table of which the erasure has to take something → the account."""
    address = f"{name}@example.org"
    account = (await accounts.create_user(connection, address)).id
    await accounts.create_key(connection, address, new_key(), name=f"{name}'s laptop")
    for table, row in (
        ("prompts", {"name": name, "template": f"hello {name}"}),
        ("subscriptions", {"tier": "pro", "status": "active"}),
        ("routing_policies", {"policy": "{}"}),
    ):
        columns = ", ".join(row)
        places = ", ".join(f"${number}" for number in range(2, len(row) + 2))
        await connection.execute(
            f"INSERT INTO {table} (user_id, {columns}) VALUES ($1, {places})", UUID(account), *row.values()
        )
    budget = await connection.fetchval(
        """INSERT INTO budgets (id, account_id, subject, period, hard, limit_usd, alert_percent)
        VALUES (gen_random_uuid(), $1, 'account', 'day', true, 1, '{80}') RETURNING id""",
        UUID(account),
    )
    await connection.execute("INSERT INTO budget_alerts VALUES ($1, now(), 80, 1)", budget)
    session = await connection.fetchval(
        "INSERT INTO sessions (id, user_id, how, expires_at) VALUES (gen_random_uuid(), $1, 'password', now()) RETURNING id",
        UUID(account),
    )
    await connection.execute("INSERT INTO refresh_tokens VALUES ($1, $2)", name.encode(), session)
    await connection.execute(
        "INSERT INTO mailed_links (token_hash, user_id, purpose, expires_at) VALUES ($1, $2, 'reset', now())",
        name.encode(),
        UUID(account),
    )
    await connection.execute(
        "INSERT INTO outside_identities VALUES ('https://issuer.example', $1, $2, 'other')", name, UUID(account)
    )
    await connection.execute("INSERT INTO consents VALUES ($1, 'terms', '1')", UUID(account))
    await connection.execute("INSERT INTO retentions VALUES ($1, now(), now())", UUID(account))
    await connection.execute("INSERT INTO account_limits VALUES ($1, '{}')", UUID(account))
    export = await connection.fetchval(
        """INSERT INTO exports (id, account, asked_by, status, asked_at, expires_at)
        VALUES (gen_random_uuid(), $1, 'operator', 'ready', now() - interval '1 hour', now() + interval '1 day')
        RETURNING id""",
        UUID(account),
    )
    await connection.execute("INSERT INTO export_pieces VALUES ($1, 1, 0, 'x')", export)
    await connection.execute(
        "INSERT INTO provider_keys (account, provider, version, sealed, hint)"
        " VALUES ($1, 'openai', gen_random_uuid(), 'sealed', '…')",
        UUID(account),
    )
    team = await connection.fetchval("INSERT INTO organizations (name) VALUES ('the team') RETURNING id")
    await connection.execute("INSERT INTO organization_members VALUES ($1, $2, 'developer')", team, UUID(account))
    await connection.execute(
        "INSERT INTO unreadable VALUES ('requests', 0, $1, 'broken', $2)", name, b'{"account": "%s"' % account.encode()
    )
    asked = finished(account, conversation=f"talk-of-{name}")
    batch = [
        Seen(0, f"1-{number}", said.encode())
        for number, said in enumerate((asked, responded(account), adjusted(asked)))
    ]
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as over:
        for projection in PROJECTIONS:
            if projection.wants is not None and projection.name != "audit":
                await apply(over, projection, batch, lambda *entry: pytest.fail(str(entry)))
        assert (
            await over.execute(text("SELECT count(*) FROM usage WHERE user_id = :id"), {"id": account})
        ).scalar_one()
    await engine.dispose()
    return account


async def everything(connection: Connection, needle: str) -> dict[str, int]:
    """Table → rows with this text anywhere, in bytes too, of all tables there are."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    found = {}
    for table in (row["tablename"] for row in tables):
        count = await connection.fetchval(
            f"SELECT count(*) FROM {table} AS row WHERE position($1 in row::text) + position($2 in row::text) > 0",
            needle,
            needle.encode().hex(),
        )
        if count:
            found[table] = count
    return found


async def facts(connection: Connection) -> list[object]:
    rows = await connection.fetch("SELECT envelope FROM outbox ORDER BY created_at, id")
    return [read(row["envelope"]).body for row in rows]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, name="tests", connections_max=2) as opened:
        yield opened


async def test_every_table_has_its_place(connection: Connection) -> None:
    rows = await connection.fetch(
        """SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
        AND relkind IN ('r', 'p') AND NOT relispartition"""
    )
    assert {row["relname"] for row in rows} == {place.table for place in PLACES}
    for place in PLACES:
        columns = {
            row["column_name"]
            for row in await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_name = $1", place.table
            )
        }
        assert {*place.secret, *(name for name, _ in place.sealed)} <= columns, place.table


async def test_nothing_of_the_erased_is_left_and_all_of_the_neighbour(
    connection: Connection, database_url: str, ring: KeyRing, pool: Pool
) -> None:
    alice, bob = [await made(connection, database_url, name) for name in ("alice", "bob")]
    vault = Vault(pool, ring)
    sealed = [await vault.seal(account, "answer", "req_1", b"hello") for account in (alice, bob)]
    await connection.execute("DELETE FROM outbox")  # it has been published
    before = await everything(connection, bob)

    await wishes.ask(connection, alice, "person", by="operator", grace=NOW)
    signed = await erase(connection, alice, ring)

    assert signed is not None
    receipt = signed.read()
    await connection.execute("DELETE FROM outbox")
    left = await everything(connection, alice)
    assert set(left) <= {place.table for place in KEPT} | {"usage_default"} | {
        t for t in left if t.startswith("usage_2")
    }
    assert await everything(connection, "alice") == {}
    gone = {place.table for place in GO} - {"organizations", "organization_invitations"}  # those of a team
    expected = dict.fromkeys(gone, 1) | {"requests": 2, "conversation_messages": 2}
    assert {one.table: one.rows for one in receipt.deleted if one.rows} == expected
    assert {one.table: one.rows for one in receipt.kept}["usage"] == 2
    assert await everything(connection, bob) == before
    vault.forget_all()
    with pytest.raises(Erased):
        await vault.open(alice, "answer", "req_1", sealed[0])
    assert await vault.open(bob, "answer", "req_1", sealed[1]) == b"hello"


async def test_who_owns_a_team_hands_it_over_first_and_a_team_goes_with_its_keys(
    connection: Connection, ring: KeyRing
) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    team = str(await connection.fetchval("INSERT INTO organizations (name) VALUES ('the team') RETURNING id"))
    await connection.execute("INSERT INTO organization_members VALUES ($1, $2, 'owner')", UUID(team), UUID(alice))
    await connection.execute(
        "INSERT INTO api_keys (organization_id, role, key_hash, key_prefix) VALUES ($1, 'admin', 'x', 'y')", UUID(team)
    )
    with pytest.raises(wishes.OwnsTeams, match=team):
        await wishes.ask(connection, alice, "person", by="operator", grace=NOW)

    await wishes.ask(connection, team, "team", by=f"person:{alice}", grace=NOW)
    signed = await erase(connection, team, ring)
    await wishes.ask(connection, alice, "person", by="operator", grace=NOW)

    assert signed is not None
    gone = {one.table for one in signed.read().deleted if one.rows}
    assert gone == {"organizations", "organization_members", "api_keys"}


async def test_it_waits_for_its_time_and_happens_once(connection: Connection, database_url: str, ring: KeyRing) -> None:
    alice = await made(connection, database_url, "alice")

    wish = await wishes.ask(connection, alice, "person", by="person:1", grace=MONTH)
    assert wish.erase_at - wish.requested_at == MONTH
    assert await erase(connection, alice, ring) is None
    assert await connection.fetchval("SELECT status FROM users") == "deleted"

    sooner = await wishes.ask(connection, alice, "person", by="operator", grace=NOW)
    assert (sooner.requested_at, sooner.word) == (wish.requested_at, None)
    assert await erase(connection, alice, ring)
    assert await erase(connection, alice, ring) is None
    told = [fact for fact in await facts(connection) if isinstance(fact, ErasureRequested | AccountErased)]
    assert [type(fact) for fact in told] == [ErasureRequested, AccountErased]


async def test_what_was_suspended_is_suspended_again_when_it_is_taken_back(connection: Connection) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    await connection.execute("UPDATE users SET status = 'suspended'")
    wish = await wishes.ask(connection, alice, "person", by="operator", grace=MONTH)

    with pytest.raises(wishes.NothingToRestore):
        await wishes.take_back(connection, (wish.word or "") + "x")
    assert await wishes.take_back(connection, wish.word or "") == alice

    assert await connection.fetchval("SELECT status FROM users") == "suspended"
    with pytest.raises(wishes.NothingToRestore):
        await wishes.restore(connection, alice, by="operator")
    assert isinstance((await facts(connection))[-1], ErasureWithdrawn)


async def test_what_is_erased_cannot_be_taken_back(connection: Connection, ring: KeyRing) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    wish = await wishes.ask(connection, alice, "person", by="operator", grace=NOW)
    await erase(connection, alice, ring)

    with pytest.raises(wishes.NothingToRestore):
        await wishes.take_back(connection, wish.word or "")
    with pytest.raises(wishes.UnknownAccount):
        await wishes.ask(connection, alice, "person", by="operator", grace=NOW)


async def test_the_receipt_goes_to_the_address_that_is_forgotten_with_it(connection: Connection, ring: KeyRing) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    mails = Mails(ring, have_post=True)
    await wishes.ask(connection, alice, "person", by="operator", grace=NOW, mails=mails)
    signed = await erase(connection, alice, ring, mails)

    rows = await connection.fetch("SELECT id, sealed, sealed_by FROM mails ORDER BY created_at")
    letters = [json.loads(ring.open(f"mail {row['id']}", row["sealed"], row["sealed_by"])) for row in rows]
    assert [letter[0] for letter in letters] == ["alice@example.org"] * 2
    assert signed is not None and signed.model_dump_json() in letters[1][2]


async def test_a_receipt_is_ours_or_it_is_found_out(connection: Connection, ring: KeyRing) -> None:
    alice = (await accounts.create_user(connection, "alice@example.org")).id
    await wishes.ask(connection, alice, "person", by="operator", grace=NOW)
    signed = await erase(connection, alice, ring)
    assert signed is not None
    text = signed.model_dump_json()

    assert (await examine(connection, ring, text))["ours"]
    other = KeyRing.parse("ab" * 32)
    assert (await examine(connection, other, text))["ours"], "the key was rotated since; the table knows it"
    await connection.execute("DELETE FROM erasures")
    assert not (await examine(connection, other, text))["ours"]
    for wrong in (
        text.replace(alice, alice[:-1] + "0" if alice[-1] != "0" else alice[:-1] + "1"),
        text[:-9],
        "{}",
        "x",
    ):
        with pytest.raises(NoReceipt):
            verify(wrong)


async def test_receipts_erase_again_what_an_older_backup_has_brought_back(
    connection: Connection, database_url: str, ring: KeyRing
) -> None:
    alice, bob = [await made(connection, database_url, name) for name in ("alice", "bob")]
    await wishes.ask(connection, alice, "person", by="operator", grace=NOW)
    signed = await erase(connection, alice, ring)
    assert signed is not None
    await connection.execute("DELETE FROM erasures")
    await connection.execute("INSERT INTO users (id, email) VALUES ($1, 'alice@example.org')", UUID(alice))
    assert (await examine(connection, ring, signed.model_dump_json()))["left"] == {"users": 1}

    done = await repeat_all(connection, f"{signed.model_dump_json()}\n\n", ring)

    assert done == {alice: 1}
    assert (await examine(connection, ring, signed.model_dump_json()))["left"] == {}
    assert await connection.fetchval("SELECT count(*) FROM users WHERE id = $1", UUID(bob)) == 1
    assert Signed.model_validate_json(await connection.fetchval("SELECT receipt FROM erasures")) == signed
