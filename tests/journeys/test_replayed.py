"""Every projection made anew from the log equals the one that the running system keeps."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.journeys.books import Books
from tests.journeys.client import Client, question
from tests.journeys.running import Helix

TABLES = {
    "usage": ("usage",),
    "requests": ("requests",),
    "responses": ("responses",),
    "conversations": ("conversations", "conversation_messages"),
}


async def rows(books: Books, table: str) -> list[str]:
    """The rows of a table in full, in no order."""
    found = await books.database.fetch(f"SELECT to_jsonb(each)::text AS row FROM {table} AS each")
    return sorted(row["row"] for row in found)


async def some_of_everything(client: Client) -> None:
    name = f"talk-{secrets.token_hex(8)}"
    await asyncio.gather(
        *(client.complete(question(f"plain {number}", conversation_id=name)) for number in range(5)),
        *(client.complete(question(f"streamed {number}", stream=True, store=True)) for number in range(5)),
        client.complete(question("[status=400] refused", "sandbox/faulty")),
        client.post("/v1/responses", {"model": "sandbox/echo", "input": "kept"}),
        client.complete(question("[error_after=1] broken off", "sandbox/faulty", stream=True)),
    )
    request = await client.submit(question("[delay_ms=5000] too slow", "sandbox/faulty"))
    await client.post(f"/v1/requests/{request}/cancel")


@pytest.mark.parametrize("projection", TABLES)
async def test_a_replay_gives_the_rows_there_are(helix: Helix, client: Client, books: Books, projection: str) -> None:
    await some_of_everything(client)
    await books.caught_up()
    before = {table: await rows(books, table) for table in TABLES[projection]}
    assert all(before.values())

    compared = await helix.ask("replay", projection, "--dry-run")
    assert (compared["equal"], compared["swapped"]) == (True, False)

    replaced = await helix.ask("replay", projection, "--verify")
    assert (replaced["equal"], replaced["swapped"]) == (True, True)
    assert {table: await rows(books, table) for table in TABLES[projection]} == before


async def test_a_replay_beside_running_requests_loses_none_of_them(helix: Helix, client: Client, books: Books) -> None:
    replay = asyncio.create_task(helix.ask("replay", "usage"))
    asked = []
    while not replay.done():
        asked.append((await client.complete(question("meanwhile"))).request)
    assert (await replay)["swapped"]
    asked.append((await client.complete(question("afterwards"))).request)
    assert await books.usage(asked) == dict.fromkeys(asked, 1)


async def test_a_tampered_row_is_found_and_mended(helix: Helix, client: Client, books: Books) -> None:
    request = (await client.complete(question("a cheap one"))).request
    await books.caught_up()
    await books.database.execute("UPDATE usage SET prompt_tokens = 1000000 WHERE request_id = $1", request)
    found = await asyncio.to_thread(helix.run, "replay", "usage", "--dry-run", "--json")
    assert (found.returncode, '"equal": false' in found.stdout) == (1, True)
    await helix.ask("replay", "usage")
    tokens = "SELECT prompt_tokens FROM usage WHERE request_id = $1"
    assert await books.database.fetchval(tokens, request) == 3


async def test_the_archive_is_whole(helix: Helix) -> None:
    assert (await helix.ask("replay", "archive", "--verify"))["faults"] == []
