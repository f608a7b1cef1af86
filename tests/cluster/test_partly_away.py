"""One node of a cluster is down: what everybody else does meanwhile, and what is waiting when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime

import asyncpg
import pytest

from app import outbox, trimmer
from app.continuity import compare, reseed
from app.ids import new_id
from app.log import Connection, Log, LogGone, keys
from app.log.count import OtherCount, agree
from app.log.memory import shares_used
from app.log.nodes import slot_of
from app.postgres import engine
from app.readers import extent
from app.shedding import Shedding
from events.accounts import KeyRevoked
from events.message import Envelope
from tests.cluster.conftest import Cluster, Node
from tests.projections import finished
from tests.retention.reading import read_by_all

PARTITIONS = 6
EVENTS = 150


def account_in(partition: int) -> str:
    names = (f"00000000-0000-4000-8000-{number:012}" for number in range(1000))
    return next(name for name in names if keys.partition_of(name, PARTITIONS) == partition)


async def opened(url: str) -> Log:
    log = await Log(url, name="test", partitions=PARTITIONS).open()
    await log.declare()
    return log


def kill(node: Node) -> None:
    os.kill(node.pid, signal.SIGKILL)
    node.wait_ended()


def lose(cluster: Cluster, log: Log) -> tuple[Node, list[int]]:
    """Kill the node of partition 1 → it, and the partitions that lie there."""
    url = log.nodes.url_of(1)
    kill(cluster.node_at(url))
    return cluster.node_at(url), log.nodes.groups()[url]


async def test_what_everybody_does_while_a_node_is_away(
    cluster: Cluster, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimmer, "CROWDED", 0.0)
    await agree(cluster.url, PARTITIONS)
    log = await opened(cluster.url)
    for partition in range(PARTITIONS):
        await asyncio.gather(*(log.publish(finished(account_in(partition))) for _ in range(EVENTS)))
    await read_by_all(log, database_url)
    shedding = Shedding(log)
    await shedding.start()
    lost, waiting = lose(cluster, log)
    others = [partition for partition in range(PARTITIONS) if partition not in waiting]

    # The trimmer goes on with the others.
    async with engine(database_url) as database:
        cuts = await trimmer.trim_all(log, database)
    assert [cut.partition for cut in cuts if cut.away] == waiting
    assert all(cut.entries > 0 and cut.refused is None for cut in cuts if not cut.away)

    # The log is held against what was read, where it can be.
    async with engine(database_url) as database, database.connect() as connection:
        compared = await compare(log, connection)
        assert (compared.back, compared.away) == ((), tuple(waiting))
        await log.command("DEL", keys.events(others[0]))
        compared = await compare(log, connection)
        assert [one.partition for one in compared.back] == [others[0]]
        assert [one.partition for one in await reseed(log, connection)] == [others[0]]
        assert (await compare(log, connection)).back == ()

    # Memory is told of those that answer, and a full node refuses its own accounts.
    assert set(await shares_used(log)) == {log.nodes.url_of(partition) for partition in others}
    full = others[0]
    await log.nodes.at(full)("CONFIG", "SET", "maxmemory", 1_000_000)
    await shedding.stop()
    await shedding.start()
    beside = next(partition for partition in others if log.nodes.url_of(partition) != log.nodes.url_of(full))
    assert shedding.full_for(account_in(full))
    assert not shedding.full_for(account_in(beside))
    await log.nodes.at(full)("CONFIG", "SET", "maxmemory", 0)
    await shedding.stop()

    # Facts for the others leave the outbox once; those for it wait.
    postgres = await asyncpg.connect(database_url)
    for partition in (1, beside):
        fact = KeyRevoked(api_key_id=new_id(), key_hash="0" * 64)
        said = Envelope.begin(fact, id=new_id(), at=datetime.now(UTC), account=account_in(partition), subject=new_id())
        async with postgres.transaction():
            await outbox.enqueue(postgres, said)
    before = (await extent(log, beside)).added
    for _ in range(3):
        with pytest.raises(LogGone):
            await outbox.publish(postgres, log)
    assert (await extent(log, beside)).added == before + 1

    # The count is known to every node: the others would refuse a changed one.
    there = next(node for node in cluster.nodes if node is not lost)
    with pytest.raises(OtherCount):
        await agree(there.url, PARTITIONS + 1)
    await agree(there.url, PARTITIONS)

    # It is back.
    lost.start()
    async with asyncio.timeout(30):
        while not all(log.nodes.connected(url) for url in log.nodes.groups()):  # noqa: ASYNC110  # it happens in a server
            await asyncio.sleep(0.05)
    assert await outbox.publish(postgres, log) == 1
    async with engine(database_url) as database:
        cuts = await trimmer.trim_all(log, database)
    assert not any(cut.away or cut.refused for cut in cuts)
    await postgres.close()
    await log.close()


async def test_a_partition_that_another_node_took_over_is_found_there(cluster: Cluster) -> None:
    log = await opened(cluster.url)
    lost, waiting = lose(cluster, log)
    with pytest.raises(LogGone):
        await log.command("XLEN", keys.events(waiting[0]))
    heirs = [node for node in cluster.nodes if node is not lost]
    connections = [await Connection(node.url, name="heir").open() for node in heirs]
    name = (await connections[0]("CLUSTER", "MYID")).decode()
    for connection in connections:
        for partition in waiting:
            await connection("CLUSTER", "SETSLOT", slot_of(partition), "NODE", name)
    async with asyncio.timeout(30):
        while cluster.node_at(log.nodes.url_of(waiting[0])) is not heirs[0]:  # noqa: ASYNC110  # it happens in servers
            await asyncio.sleep(0.05)
    assert log.nodes.moved.is_set()
    await log.command("XADD", keys.events(waiting[0]), "*", "field", "value")
    for connection in connections:
        await connection.close()
    await log.close()
