"""A whole Helix over a real cluster: every account is answered, and the end of one node is its partitions' outage alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from app.log.keys import partition_of
from app.log.nodes import SLOTS, slot_of
from tests.cluster.conftest import NODES, Cluster
from tests.journeys.books import books_of
from tests.journeys.client import Client, client_of, question
from tests.journeys.conftest import helix_on
from tests.journeys.running import Account, Helix
from tests.machines.conftest import new_account

PARTITIONS = 6
SLOW = "[chunk_delay_ms=300] one two three four five six"


def node_of(account: Account) -> int:
    return min(slot_of(partition_of(account.id, PARTITIONS)) // (SLOTS // NODES), NODES - 1)


async def one_on_each_node(helix: Helix) -> dict[int, Account]:
    """An account whose partition lies there, for each node."""
    found: dict[int, Account] = {}
    while len(found) < NODES:
        account = await new_account(helix.facts["database_url"])
        found.setdefault(node_of(account), account)
    return found


async def words_of(client: Client, words: str) -> str:
    answer = await client.complete(question(words, stream=len(words) % 2 == 0))
    assert answer.status == 200, answer.body
    return answer.text


async def the_operator_is_shown_the_others(helix: Helix) -> None:
    shown, parked, seen = await asyncio.gather(
        *(asyncio.to_thread(helix.run, *words) for words in (("log", "--last", "3"), ("parked", "list"), ("doctor",)))
    )
    assert (shown.returncode, parked.returncode, seen.returncode) == (0, 0, 1)
    assert len(shown.stdout.splitlines()) == 3
    assert "without partitions" in shown.stderr
    assert "without partitions" in parked.stderr
    assert seen.stdout.splitlines()[0].startswith("BAD      log node")


async def test_one_node_lost_under_load_stops_its_accounts_alone_and_loses_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    with helix_on(tmp_path / "data", REDIS_URL=cluster.url, HELIX_PARTITIONS=str(PARTITIONS)) as helix:
        accounts = await one_on_each_node(helix)
        lost = 1
        async with (
            client_of(helix.base_url, accounts[0].key) as first,
            client_of(helix.base_url, accounts[lost].key) as second,
            client_of(helix.base_url, accounts[2].key) as third,
        ):
            assert [await words_of(client, "well met") for client in (first, second, third)] == ["well met"] * 3
            accepted = [
                (client, await client.submit(question(SLOW, "sandbox/faulty", stream=True)))
                for client in (first, second, third)
                for _ in range(3)
            ]

            os.kill(cluster.nodes[lost].pid, signal.SIGKILL)
            cluster.nodes[lost].wait_ended()

            assert [await words_of(client, f"still here {n}") for n in range(5) for client in (first, third)] == [
                f"still here {n}" for n in range(5) for _ in range(2)
            ]
            await the_operator_is_shown_the_others(helix)
            refused = await second.complete(question("anybody there"))
            assert refused.status == 503 and refused.headers["retry-after"]

            cluster.nodes[lost].start()
            async with asyncio.timeout(60):
                while (await second.complete(question("back again"))).status != 200:  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.2)
            ends = [await client.end_of(request) for client, request in accepted]

        assert [end["status"] for end in ends] == ["completed"] * len(accepted)
        requests = [request for _, request in accepted]
        async with books_of(helix.now(), PARTITIONS) as books:
            await books.caught_up()
            assert await books.ends(requests) == Counter(requests)
            assert await books.usage(requests) == Counter(requests)
