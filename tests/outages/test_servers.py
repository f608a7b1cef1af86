"""A whole Helix whose servers are full, locked, killed and emptied under its requests."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.api_keys import new_key
from tests.journeys.books import Books, books_of, soon
from tests.journeys.client import Answer, Client, client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Helix
from tests.outages.small_disk import Disk, small_disk

CONNECTIONS = 2
"""Of a process to Postgres: few, so that they are soon all taken."""

GROWN_MB_MAX = 100
"""Work that piles up would be seen; what an allocator keeps is less."""

RATE_A_MINUTE = 30

RESTARTS = 4
"""How often the log has been started in vain before there is room again."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="a full disk is made with Linux' own means")


@pytest.fixture(scope="module")
def disk(reachable_path: Path) -> Iterator[Disk]:
    place = reachable_path / "data" / "log"
    place.mkdir(parents=True)

    def pid_of_log() -> int:
        pid: int = json.loads((reachable_path / "data" / "run.json").read_text())["pids"]["log"][0]
        return pid

    with small_disk(place, reachable_path, pid_of_log) as made:
        yield made


@pytest.fixture(scope="module")
def helix(disk: Disk, reachable_path: Path) -> Iterator[Helix]:
    environment = {**disk.environment, "MAX_DB_CONNECTIONS": str(CONNECTIONS)}
    with helix_on(reachable_path / "data", **environment) as running:
        yield running


@pytest.fixture
async def client(helix: Helix) -> AsyncIterator[Client]:
    async with client_of(helix.base_url, helix.facts["api_key"]) as made:
        yield made


@pytest.fixture
async def books(helix: Helix) -> AsyncIterator[Books]:
    async with books_of(helix.now()) as opened:
        yield opened


async def answered(client: Client) -> bool:
    return (await client.complete(question("there?"))).status == 200


@linux
async def test_on_a_full_disk_nothing_is_accepted_and_everything_goes_on_when_there_is_room(
    helix: Helix, client: Client, disk: Disk
) -> None:
    accepted = [await client.submit(question(f"before {at}")) for at in range(5)]
    disk.fill()
    statuses: Counter[int] = Counter()
    while statuses[503] < 15 or restarts_of_log(helix) < RESTARTS:
        answer = await client.complete(question("while it is full " + "x" * 2000), prefer="respond-async")
        statuses[answer.status] += 1
        if answer.status == 202:  # what was left of the last block
            accepted.append(answer.json["id"])
        else:
            assert int(answer.headers["retry-after"]) >= 1
    assert set(statuses) <= {202, 503}
    disk.free()
    async with asyncio.timeout(60):
        while not await answered(client):  # noqa: ASYNC110  # it happens in other processes
            await asyncio.sleep(0.1)
    accepted.append(await client.submit(question("after")))
    ends = await asyncio.gather(*(client.end_of(request) for request in accepted))
    assert {end["status"] for end in ends} == {"completed"}
    async with books_of(helix.now()) as books:
        once = dict.fromkeys(accepted, 1)
        assert await books.ends(once) == once
        assert await books.usage(once) == once
    assert list((helix.data / "log").glob(".*")) == [], "a file that could not be written leaves nothing behind"


def restarts_of_log(helix: Helix) -> int:
    return len(re.findall(r"log \(pid \d+\) ended with \d+; starting it again", helix.stderr.read_text()))


async def test_a_locked_table_and_an_exhausted_pool_hold_up_no_request_of_a_known_key(
    helix: Helix, client: Client, books: Books
) -> None:
    assert await answered(client)
    before_mb = sizes(helix)
    async with books.database.transaction():
        await books.database.execute("LOCK TABLE usage, api_keys IN ACCESS EXCLUSIVE MODE")
        unknown = [asyncio.create_task(ask_as_stranger(helix)) for _ in range(CONNECTIONS * 4)]
        meanwhile = await asyncio.gather(*(client.complete(question(f"meanwhile {at}")) for at in range(100)))
        refused = await asyncio.gather(*unknown)
    assert {answer.status for answer in meanwhile} == {200}
    assert {answer.status for answer in refused} == {503}
    requests = [answer.request for answer in meanwhile]
    assert await books.usage(requests) == dict.fromkeys(requests, 1)
    grown_mb = {name: after - before_mb[name] for name, after in sizes(helix).items()}
    assert max(grown_mb.values()) < GROWN_MB_MAX, grown_mb


async def ask_as_stranger(helix: Helix) -> Answer:
    """With a well-formed key that nobody has seen, so that Postgres must be asked."""
    async with client_of(helix.base_url, new_key()) as stranger:
        return await stranger.complete(question("let me in"))


def sizes(helix: Helix) -> dict[str, int]:
    """Resident megabytes of each process of ours."""
    pids = helix.now()["pids"]
    ours = {role: pids[role][0] for role in ("web", "worker", "projector")}
    return {role: _megabytes(pid) for role, pid in ours.items()}


def _megabytes(pid: int) -> int:
    shown = subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout) // 1024


async def test_a_cache_killed_and_emptied_again_and_again_opens_no_door(helix: Helix, client: Client) -> None:
    limited = await helix.account("enterprise", "--rate-limit", str(RATE_A_MINUTE))
    revoked = await helix.account()
    async with client_of(helix.base_url, limited.key) as hasty, client_of(helix.base_url, revoked.key) as gone:
        assert await answered(gone)
        await helix.ask("key", "revoke", revoked.prefix)

        async def refused() -> bool:
            return (await gone.complete(question("still me"))).status == 401

        await soon(refused)
        statuses: Counter[int] = Counter()
        for number in range(6):
            facts = helix.now()
            if number % 2:
                (pid,) = facts["pids"]["cache"]
                os.kill(pid, signal.SIGKILL)
            else:
                await flush(facts["cache_url"])
            for _ in range(10):
                assert (await gone.complete(question("still me"))).status == 401
                assert (await client.complete(question("and I"))).status == 200
                statuses[(await hasty.complete(question("as much as I may"))).status] += 1
        assert set(statuses) == {200, 429}
        assert RATE_A_MINUTE <= statuses[200] < 2 * RATE_A_MINUTE


async def flush(cache_url: str) -> None:
    async def done() -> bool:
        try:
            async with Redis.from_url(cache_url) as cache:
                return bool(await cache.flushall())
        except RedisError:
            return False  # it is just coming up

    await soon(done)
