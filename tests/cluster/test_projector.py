"""The projector over a cluster: it begins although a node is away, and leaves when a partition lies elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
from urllib.parse import urlsplit

import asyncpg
import pytest

from app import projector
from app.log import Connection, Log
from app.log.nodes import slot_of
from tests.cluster.conftest import Cluster
from tests.cluster.test_partly_away import PARTITIONS, account_in, opened
from tests.conftest import MakeSettings
from tests.journeys.books import soon
from tests.projections import finished


async def test_a_projector_begins_without_a_node_reads_it_when_it_is_back_and_leaves_when_a_partition_moves(
    cluster: Cluster, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "MEASURE_S", 0.1)
    settings = make_settings(redis_url=cluster.url, helix_partitions=PARTITIONS)
    log = await opened(cluster.url)
    for partition in range(PARTITIONS):
        await log.publish(finished(account_in(partition)))
    lost = cluster.node_at(log.nodes.url_of(1))
    waiting = log.nodes.groups()[log.nodes.url_of(1)]
    os.kill(lost.pid, signal.SIGKILL)
    lost.wait_ended()
    database = await asyncpg.connect(settings.database)
    serving = asyncio.create_task(projector.serve(settings))

    async def rows(count: int) -> bool:
        return bool(await database.fetchval("SELECT count(*) FROM usage") == count)

    await soon(lambda: rows(PARTITIONS - len(waiting)))
    lost.start()
    await soon(lambda: rows(PARTITIONS))

    await move(cluster, log, waiting[0])
    with pytest.raises(ExceptionGroup) as left:
        async with asyncio.timeout(30):
            await serving
    assert left.value.subgroup(projector.Elsewhere)
    await database.close()
    await log.close()


async def move(cluster: Cluster, log: Log, partition: int) -> None:
    """Its slot goes to another node with all that lies in it, as an operator moves it."""
    slot, giver = slot_of(partition), cluster.node_at(log.nodes.url_of(partition))
    heir = next(node for node in cluster.nodes if node is not giver)
    there = {node: await Connection(node.url, name="move").open() for node in cluster.nodes}
    names = {node: (await connection("CLUSTER", "MYID")).decode() for node, connection in there.items()}
    await there[heir]("CLUSTER", "SETSLOT", slot, "IMPORTING", names[giver])
    await there[giver]("CLUSTER", "SETSLOT", slot, "MIGRATING", names[heir])
    while found := await there[giver]("CLUSTER", "GETKEYSINSLOT", slot, 100):
        words = ("MIGRATE", "127.0.0.1", heir.port, "", 0, 5000, "AUTH", urlsplit(heir.url).password or "", "KEYS")
        await there[giver](*words, *found)
    for node in (heir, giver, *cluster.nodes):
        await there[node]("CLUSTER", "SETSLOT", slot, "NODE", names[heir])
    for connection in there.values():
        await connection.close()
