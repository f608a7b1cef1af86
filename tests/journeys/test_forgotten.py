"""A hundred people are forgotten while the system runs: from the tables, the log, a replay, and a backup that is put back.

One rule: a neighbour lives through all of it, or the search proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg

from app import accounts
from app.api_keys import new_key
from app.erasure import wishes
from app.erasure.places import GO
from app.erasure.receipt import verify
from app.log import keys
from tests.backup.test_restore import typed
from tests.journeys.books import Books, books_of
from tests.journeys.client import client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix
from tests.journeys.test_canary import archived, forms, places_with

PEOPLE = 100
"""Of the goal; the neighbour is one more."""
AT_ONCE = 10
CLEARED_S_MAX = 200
"""A hundred erasures take seconds; a machine with other work to do gets time."""


@dataclass(frozen=True)
class Person:
    id: str
    email: str
    key: str


async def people(helix: Helix) -> list[Person]:
    """The last one is the neighbour, who stays."""
    connection = await asyncpg.connect(helix.facts["database_url"])
    try:
        found = []
        for number in range(PEOPLE + 1):
            email, key = f"person{number}.{secrets.token_hex(4)}@example.org", new_key()
            user = await accounts.create_user(connection, email, "enterprise")
            await accounts.create_key(connection, email, key, scopes=["chat", "account"])
            found.append(Person(user.id, email, key))
        return found
    finally:
        await connection.close()


async def speak(helix: Helix, person: Person, canary: str) -> str:
    async with client_of(helix.base_url, person.key) as client:
        answer = await client.complete(
            question(f"{canary} {person.id}", conversation_id="diary"), idempotency_key=secrets.token_hex(8)
        )
        assert answer.status == 200, answer.body
        return answer.request


async def leave(helix: Helix, books: Books, gone: list[Person]) -> None:
    """One by the door, who takes it back once; one by the operator; all others have asked a month ago."""
    first, second, *others = gone
    async with client_of(helix.base_url, first.key) as client:
        asked = await client.send("DELETE", "/v1/users/me")
        assert (asked.status, asked.json["status"]) == (202, "scheduled")
        running = await client.complete(question("still there?"))
        assert (running.status, running.error["code"]) == (401, "invalid_api_key")
        nothing = await client.post("/v1/users/me/restore", {"token": "hx_restore_nonsense"})
        assert (nothing.status, nothing.error["code"]) == (404, "erasure_not_found")
        back = await client.post("/v1/users/me/restore", {"token": asked.json["restore_token"]})
        assert (back.status, back.json["status"]) == (200, "restored")
        assert (await client.complete(question("back again"))).status == 200
        await books.caught_up()
        assert (await client.send("DELETE", "/v1/users/me")).status == 202
    ran = await asyncio.to_thread(helix.run, "user", "erase", second.email, "--now")
    assert verify(ran.stdout)[1].account == second.id
    for person in others:
        await wishes.ask(books.database, person.id, "person", by=f"person:{person.id}", grace=timedelta(days=30))
    await books.database.execute("UPDATE erasures SET erase_at = now() WHERE erased_at IS NULL")


async def rows_left(database_url: str, gone: list[Person]) -> dict[str, int]:
    connection = await asyncpg.connect(database_url)
    try:
        left = dict.fromkeys((place.table for place in GO), 0)
        for person in gone:
            for place in GO:
                query = f"SELECT count(*) FROM {place.table} WHERE {place.whose}"
                left[place.table] += await connection.fetchval(query, UUID(person.id))
        return {table: rows for table, rows in left.items() if rows}
    finally:
        await connection.close()


async def named_on_the_log(books: Books, gone: list[Person]) -> set[str]:
    """Names of keys that still bear one of their ids. Events and the commands of others are no names."""
    names = [name.decode() for name in await books.log.command("KEYS", "helix:*")]
    return {name for name in names for person in gone if person.id in name}


async def test_whoever_is_erased_stays_erased_after_a_replay_and_a_restore(tmp_path: Path) -> None:
    old, new, saved = tmp_path / "old", tmp_path / "new", tmp_path / "saved"
    canary = f"canary{secrets.token_hex(16)}"
    with helix_on(old) as helix:
        *gone, neighbour = await people(helix)
        async with books_of(helix.now()) as books:
            asked = []
            for at in range(0, PEOPLE + 1, AT_ONCE):
                some = [*gone, neighbour][at : at + AT_ONCE]
                asked += await asyncio.gather(*(speak(helix, person, canary) for person in some))
            await books.caught_up()
            await helix.ask("backup", str(saved))
            await leave(helix, books, gone)

            async with asyncio.timeout(CLEARED_S_MAX):
                done = "SELECT count(*) FROM erasures WHERE cleared_at IS NOT NULL"
                while await books.database.fetchval(done) < PEOPLE:  # noqa: ASYNC110  # rows of Postgres wake nobody
                    await asyncio.sleep(0.5)
            await books.caught_up()
            assert await rows_left(helix.facts["database_url"], gone) == {}
            assert await named_on_the_log(books, gone) == set()
            replays = [await helix.ask("replay", name) for name in ("requests", "conversations")]
            assert all(replays)
            assert await rows_left(helix.facts["database_url"], gone) == {}
            assert (
                await books.database.fetchval("SELECT count(*) FROM usage WHERE request_id = ANY($1)", asked)
                == PEOPLE + 1
            )
            archive = await archived(books)
            assert await books.log.command("EXISTS", keys.request(0, asked[0])) == 0
        async with client_of(helix.base_url, neighbour.key) as client:
            assert (await client.view(asked[-1]))["response"]["choices"][0]["message"]["content"].startswith(canary)
        receipts = (await asyncio.to_thread(helix.run, "erasure", "receipts")).stdout
        (tmp_path / "receipts").write_text(receipts)
        verified = await helix.ask("erasure", "verify", str(tmp_path / "receipts"))
        assert (verified["good"], len(verified["receipts"])) == (True, PEOPLE)
        secret = (old / "secrets" / "api_key_encryption_key").read_text().strip()
        (old / "archive.unpacked").write_bytes(archive)
    found = await asyncio.to_thread(places_with, tmp_path, forms(canary))
    assert found == set(), "what they said stands nowhere in clear, in the backup neither"

    words = ("restore", str(saved), "--data", str(new), "--erased", str(tmp_path / "receipts"), "--json")
    put_back = await asyncio.to_thread(lambda: typed(*words, API_KEY_ENCRYPTION_KEY=secret))
    assert put_back.returncode == 0, put_back.stderr
    assert json.loads(put_back.stdout)["restored"]
    with helix_on(new) as helix:
        async with books_of(helix.now()) as books:
            await books.caught_up()
        assert await rows_left(helix.facts["database_url"], gone) == {}
        verified = await helix.ask("erasure", "verify", str(tmp_path / "receipts"))
        assert (verified["good"], [one for one in verified["receipts"] if one["left"]]) == (True, [])
        async with client_of(helix.base_url, gone[7].key) as client:
            assert (await client.get("/v1/requests")).status == 401
        async with client_of(helix.base_url, neighbour.key) as client:
            assert (await client.view(asked[-1]))["response"]["choices"][0]["message"]["content"].startswith(canary)
