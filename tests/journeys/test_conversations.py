"""What was said is remembered where the client asked for it, sealed, and each turn once."""

from __future__ import annotations

import json
import secrets
from typing import Any
from uuid import UUID

from app.database import open_pool
from app.key_ring import KeyRing
from app.up.directory import Directory
from app.vault import Vault
from tests.fakes.provider import Provider
from tests.journeys.books import Books
from tests.journeys.client import Client, question
from tests.journeys.running import Helix


async def remembered(helix: Helix, books: Books, conversation: str) -> list[Any]:
    """The messages of a conversation as they were said, opened with the keys of the installation."""
    await books.caught_up()
    rows = await books.database.fetch(
        "SELECT user_id, turn_id, role, content FROM conversation_messages WHERE conversation_id = $1"
        " ORDER BY created_at, event_id, position",
        conversation,
    )
    ring = KeyRing.parse(Directory(helix.data).secret("api_key_encryption_key"))
    pool = await open_pool(helix.facts["database_url"], name="journeys", connections_max=1)
    try:
        vault = Vault(pool, ring)
        opened = [await vault.open(str(row["user_id"]), "turn", row["turn_id"], row["content"]) for row in rows]
    finally:
        await pool.close()
    messages = [json.loads(content) for content in opened]
    assert [message["role"] for message in messages] == [row["role"] for row in rows]
    return [(message["role"], message["content"]) for message in messages]


async def test_a_named_conversation_grows_by_what_is_new_in_each_turn(
    helix: Helix, client: Client, books: Books
) -> None:
    name = f"talk-{secrets.token_hex(8)}"
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How are you?"}]
    answer = await client.complete({"model": "sandbox/echo", "messages": first, "conversation_id": name})
    second = [*first, answer.json["choices"][0]["message"], {"role": "user", "content": "And tomorrow?"}]
    await client.complete({"model": "sandbox/echo", "messages": second, "conversation_id": name, "stream": True})

    assert await remembered(helix, books, name) == [
        ("system", "Be brief."),
        ("user", "How are you?"),
        ("assistant", "How are you?"),
        ("user", "And tomorrow?"),
        ("assistant", "And tomorrow?"),
    ]
    count = "SELECT message_count FROM conversations WHERE id = $1"
    assert await books.database.fetchval(count, name) == 5


async def test_a_stored_completion_is_a_conversation_of_its_own(helix: Helix, client: Client, books: Books) -> None:
    answer = await client.complete(question("remember this", store=True))
    name = answer.request.replace("req_", "conv_")
    assert await remembered(helix, books, name) == [("user", "remember this"), ("assistant", "remember this")]


async def test_what_was_not_to_be_kept_is_not(client: Client, books: Books) -> None:
    before = await books.database.fetchval("SELECT count(*) FROM conversation_messages")
    await client.complete(question("forget this"))
    await client.complete(question("and this", store=False))
    await books.caught_up()
    assert await books.database.fetchval("SELECT count(*) FROM conversation_messages") == before


async def test_a_failed_completion_adds_no_turn(helix: Helix, client: Client, books: Books) -> None:
    name = f"talk-{secrets.token_hex(8)}"
    refused = await client.complete(question("[status=400] no", "sandbox/faulty", conversation_id=name))
    assert refused.status == 400
    assert await remembered(helix, books, name) == []


async def test_two_accounts_may_give_their_conversations_the_same_name(
    client: Client, stranger: Client, books: Books
) -> None:
    name = f"talk-{secrets.token_hex(8)}"
    await client.complete(question("mine", conversation_id=name))
    await stranger.complete(question("theirs", conversation_id=name))
    await books.caught_up()
    rows = await books.database.fetch("SELECT user_id, message_count FROM conversations WHERE id = $1", name)
    assert [row["message_count"] for row in rows] == [2, 2]
    assert len({UUID(str(row["user_id"])) for row in rows}) == 2


async def test_no_provider_hears_of_helixs_own_fields_and_all_others_reach_it(
    client: Client, provider: Provider
) -> None:
    own = {"conversation_id": "talk", "store": True, "optimize": "cost"}
    others = {"temperature": 0.5, "seed": 7, "brand_new": {"deep": [1, None]}}
    await client.complete(question("hello", "near/small", **own, **others))
    (asked,) = provider.asked
    assert asked.json == question("hello", "upstream-small") | others
