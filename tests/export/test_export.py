"""An export is complete, holds its account's things alone and none of its secrets, and survives who makes it."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from app.database import Connection, Pool
from app.erasure.places import TOLD
from app.export import orders
from app.export.keeper import TRIES_MAX, make_one
from app.export.making import PIECE_BYTES, Making, Overtaken
from app.ids import new_id
from app.key_ring import KeyRing
from app.mail import Mails
from app.vault import Vault
from tests.erasure.test_erasing import made

WORDS = "what <b>I</b> said"


async def says(connection: Connection, vault: Vault, account: str, words: str) -> None:
    """A message and an answer that are sealed as the workers seal them."""
    turn, request = new_id(), f"req_{secrets.token_hex(16)}"
    await connection.execute(
        "UPDATE conversation_messages SET turn_id = $2, content = $3 WHERE user_id = $1 AND position = 0",
        UUID(account),
        turn,
        await vault.seal(account, "turn", turn, words.encode()),
    )
    await connection.execute(
        "UPDATE responses SET id = $2, kept = $3, answer = $4 WHERE user_id = $1",
        UUID(account),
        request,
        await vault.seal(account, "question", request, json.dumps({"input": words}).encode()),
        await vault.seal(account, "answer", request, json.dumps({"output": words}).encode()),
    )


async def fetched(pool: Pool, vault: Vault, connection: Connection, account: str, id: str) -> zipfile.ZipFile:
    export = await orders.find(connection, account, id)
    assert export.status == "ready"
    whole = b"".join([piece async for piece in orders.pieces(pool, await vault.box(account), export)])
    assert (len(whole), sha256(whole).hexdigest()) == (export.bytes, export.sha256)
    archive = zipfile.ZipFile(io.BytesIO(whole))
    assert archive.testzip() is None
    return archive


async def test_all_of_ones_own_and_nothing_else(
    connection: Connection, database_url: str, ring: KeyRing, pool: Pool
) -> None:
    vault = Vault(pool, ring)
    alice, bob = [await made(connection, database_url, name) for name in ("alice", "bob")]
    for account in (alice, bob):
        await says(connection, vault, account, f"{WORDS} as {account}")
    hashes = [row["key_hash"] for row in await connection.fetch("SELECT key_hash FROM api_keys")]
    order = await orders.order(connection, alice, by=f"person:{alice}")

    assert await make_one(database_url, vault, Mails(ring, have_post=True))

    archive = await fetched(pool, vault, connection, alice, order.id)
    files: dict[str, Any] = {
        name: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")
    }
    for told in TOLD:
        rows = await connection.fetchval(f"SELECT count(*) FROM {told.table} WHERE {told.whose}", UUID(alice))
        assert len(files[f"{told.table}.json"]) == rows, told.table
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert files["responses.json"][0]["kept"] == {"input": f"{WORDS} as {alice}"}
    assert files["responses.json"][0]["answer"] == {"output": f"{WORDS} as {alice}"}
    assert f"{WORDS} as {alice}" in [row["content"] for row in files["conversation_messages.json"]]
    assert bob not in everything and "bob@" not in everything
    assert not [one for one in hashes if one in everything]
    assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    page = archive.read("index.html").decode()
    assert "alice@example.org" in page and "what &lt;b&gt;I&lt;/b&gt; said" in page and "<b>I</b>" not in page
    assert await connection.fetchval("SELECT count(*) FROM mails") == 1


async def test_it_is_nobody_elses_and_asked_again_it_is_the_same(connection: Connection, database_url: str) -> None:
    alice, bob = [await made(connection, database_url, name) for name in ("alice", "bob")]
    order = await orders.order(connection, alice, by="operator")

    assert (await orders.order(connection, alice, by="operator")).id == order.id
    for account, id in ((bob, order.id), (alice, new_id()), (alice, "nonsense")):
        with pytest.raises(orders.ExportUnknown):
            await orders.find(connection, account, id)
    await connection.execute("UPDATE exports SET expires_at = now()")
    with pytest.raises(orders.ExportUnknown):
        await orders.find(connection, alice, order.id)


async def test_a_try_that_died_is_followed_by_another_and_their_pieces_never_meet(
    connection: Connection, database_url: str, ring: KeyRing, pool: Pool
) -> None:
    vault = Vault(pool, ring)
    alice = await made(connection, database_url, "alice")
    await says(connection, vault, alice, secrets.token_hex(PIECE_BYTES))
    order = await orders.order(connection, alice, by="operator")
    await connection.execute(
        "UPDATE exports SET status = 'running', tries = 1, lease_until = now() - interval '1 second' WHERE id = $1",
        UUID(order.id),
    )
    await connection.execute("INSERT INTO export_pieces VALUES ($1, 1, 0, 'half')", UUID(order.id))

    assert await make_one(database_url, vault)
    assert not await make_one(database_url, vault)

    archive = await fetched(pool, vault, connection, alice, order.id)
    assert len(archive.namelist()) == len(TOLD) + 1
    tries = await connection.fetch(
        "SELECT try, count(*) AS pieces FROM export_pieces WHERE export_id = $1 GROUP BY try", UUID(order.id)
    )
    assert [(row["try"], row["pieces"] > 1) for row in tries] == [(2, True)]
    async with connection.transaction():
        late = Making(connection, connection, await vault.box(alice), alice, order.id, 1)
        with pytest.raises(Overtaken):
            await late.run()


async def test_what_nobody_can_make_is_given_up(
    connection: Connection, database_url: str, ring: KeyRing, pool: Pool
) -> None:
    alice = await made(connection, database_url, "alice")
    order = await orders.order(connection, alice, by="operator")
    await connection.execute(
        "UPDATE exports SET status = 'running', tries = $1 WHERE id = $2", TRIES_MAX, UUID(order.id)
    )

    assert await make_one(database_url, Vault(pool, ring))

    assert (await orders.find(connection, alice, order.id)).status == "failed"
    assert (await orders.order(connection, alice, by="operator")).id != order.id
