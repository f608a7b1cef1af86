"""Two machines do the work of one, and one does it when the other is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from app.log import Log, keys
from tests.journeys.books import Books, soon
from tests.journeys.client import Client, client_of, question
from tests.journeys.test_four_ways import frames_of
from tests.machines.conftest import PARTITIONS, Machine, Site

WORDS = "one two three four five six seven eight nine ten"
SLOWLY = f"[chunk_delay_ms=150] {WORDS}"
SLOW_STREAM = question(SLOWLY, "sandbox/faulty", stream=True)


@asynccontextmanager
async def clients_of(site: Site, machine: Machine) -> AsyncIterator[list[Client]]:
    """Everybody, at one machine's web."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(machine.base_url, one.key)) for one in site.accounts]


@asynccontextmanager
async def books_of(site: Site) -> AsyncIterator[Books]:
    log = await Log(site.log_url, name="test", partitions=PARTITIONS).open()
    database = await asyncpg.connect(site.database_url)
    try:
        yield Books(log, database)
    finally:
        await database.close()
        await log.close()


async def consumers(log: Log) -> list[set[str]]:
    """For each partition the workers that read it."""
    found = []
    for partition in range(PARTITIONS):
        said = await log.command("XINFO", "CONSUMERS", keys.commands(partition), keys.COMPLETIONS)
        found.append({dict(zip(flat[::2], flat[1::2], strict=True))[b"name"].decode() for flat in said})
    return found


async def holders(books: Books) -> set[str]:
    """The names of the projectors that hold a projection of a partition."""
    rows = await books.database.fetch(
        "SELECT DISTINCT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND datname = current_database()"
    )
    return {str(row["application_name"]) for row in rows}


def projects(machine: Machine, holder: str) -> bool:
    return f"-{machine.processes['projector'].pid}-" in holder


async def at_work(books: Books) -> bool:
    """Two workers, each under a name of its own, read every partition, and the projections are held by one projector, or
    by both where they started together."""
    return [len(names) for names in await consumers(books.log)] == [2] * PARTITIONS and bool(await holders(books))


async def in_hand(log: Log) -> int:
    counts = [await log.command("XPENDING", keys.commands(p), keys.COMPLETIONS) for p in range(PARTITIONS)]
    return sum(int(count[0]) for count in counts)


async def begun(client: Client, request: str) -> bytes:
    """The first events of a request that is followed, and then let go."""
    async with client.sending("GET", f"/v1/requests/{request}/events") as answer:
        raw = b""
        while len(frames_of(raw)) < 3:
            raw += await answer.content.readany()
        return raw


async def everybody_is_answered_at_either_door(here: list[Client], there: list[Client]) -> list[str]:
    asked = [(client, f"hello {n}") for n, client in enumerate([*here, *there] * 2)]
    answers = await asyncio.gather(
        *(client.complete(question(words, stream=n % 2 == 0)) for n, (client, words) in enumerate(asked))
    )
    assert [answer.text for answer in answers] == [words for _, words in asked]
    return [answer.request for answer in answers]


async def a_stream_begun_at_one_door_goes_on_at_the_other(client: Client, other: Client) -> str:
    request = await client.submit(question(SLOWLY, "sandbox/faulty", stream=True))
    had = frames_of(await begun(client, request))
    rest = frames_of((await other.get(f"/v1/requests/{request}/events", last_event_id=had[-1].id)).body)
    assert had + rest == frames_of((await client.get(f"/v1/requests/{request}/events")).body)
    assert rest
    return request


async def test_two_machines_serve_everybody_and_the_end_of_one_loses_nothing(site: Site) -> None:
    async with books_of(site) as books:
        await soon(lambda: at_work(books))
        holder = min(await holders(books))
        leaves, stays = sorted(site.machines, key=lambda one: not projects(one, holder))
        async with clients_of(site, leaves) as here, clients_of(site, stays) as there:
            requests = await everybody_is_answered_at_either_door(here, there)
            requests += await asyncio.gather(
                *(a_stream_begun_at_one_door_goes_on_at_the_other(here[p], there[p]) for p in range(0, len(here), 2))
            )

            # A machine vanishes with work in its hands, one whose projector reads for both.
            streams = [asyncio.create_task(client.complete(SLOW_STREAM)) for client in there]
            accepted = [
                (there[n], await client.submit(question(f"[delay_ms=900] {WORDS}", "sandbox/faulty")))
                for client_of_each in (here, there)
                for n, client in enumerate(client_of_each)
                for _ in range(3)
            ]
            while await in_hand(books.log) < len(there):  # noqa: ASYNC110  # it happens in other processes
                await asyncio.sleep(0.01)
            leaves.vanish()

            ends = await asyncio.gather(*(client.end_of(request) for client, request in accepted))
            assert {end["status"] for end in ends} == {"completed"}
            for client, answer in zip(there, await asyncio.gather(*streams), strict=True):
                assert answer.status == 200
                assert answer.text == WORDS or b'"restarted"' in answer.body
                assert (await client.end_of(answer.request))["status"] == "completed"
                requests.append(answer.request)
            requests += [request for _, request in accepted]

            # One end, one bill; the projections go on through the other projector, and everybody is served.
            requests += [(await client.complete(question("still here"))).request for client in there]
            assert await books.ends(requests) == dict.fromkeys(requests, 1)
            assert await books.usage(requests) == dict.fromkeys(requests, 1)
            assert await in_hand(books.log) == 0
            (heir,) = await holders(books)
            assert projects(stays, heir)
