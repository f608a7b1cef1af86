"""The log over a real cluster: each partition on its node, MOVED followed, one node's end no other's."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from app.log import Connection, LogGone, keys
from app.log.nodes import Nodes, slot_of
from tests.cluster.conftest import Cluster

PARTITIONS = 8


async def nothing(connection: Connection, partitions: object) -> None:
    """No preparation."""


async def opened(url: str) -> Nodes:
    nodes = Nodes(url, name="test", partitions=PARTITIONS, prepare=nothing)
    await nodes.open()
    return nodes


def test_the_slot_of_a_partition_is_that_of_all_its_keys() -> None:
    from redis.crc import key_slot

    for partition in range(100):
        for key in (keys.commands(partition), keys.live(partition, "req_x"), keys.reply(partition, "web-1")):
            assert slot_of(partition) == key_slot(key.encode())


async def test_one_server_holds_every_partition(log_url: str) -> None:
    nodes = await opened(log_url)

    assert nodes.groups() == {log_url: list(range(PARTITIONS))}

    await nodes.close()


async def test_partitions_lie_on_their_nodes(cluster: Cluster) -> None:
    nodes = await opened(cluster.url)

    assert len(nodes.groups()) == 3
    for partition in range(PARTITIONS):
        await nodes("XADD", keys.events(partition), "*", "field", "value")

    await nodes.close()


async def test_a_partition_that_moves_is_followed(cluster: Cluster) -> None:
    nodes = await opened(cluster.url)
    partition = 3
    former = nodes.url_of(partition)
    target = next(node for node in cluster.nodes if node is not cluster.node_at(former))
    connections = {node: await Connection(node.url, name="move").open() for node in cluster.nodes}
    name = (await connections[target]("CLUSTER", "MYID")).decode()
    for connection in connections.values():
        await connection("CLUSTER", "SETSLOT", slot_of(partition), "NODE", name)

    await nodes("SET", f"{{{partition}}}", "found")

    assert cluster.node_at(nodes.url_of(partition)) is target
    for connection in connections.values():
        await connection.close()
    await nodes.close()


async def test_the_end_of_one_node_stops_its_partitions_alone(cluster: Cluster) -> None:
    nodes = await opened(cluster.url)
    lost = nodes.url_of(0)
    os.kill(cluster.node_at(lost).pid, signal.SIGKILL)
    cluster.node_at(lost).wait_ended()

    for partition in range(PARTITIONS):
        if nodes.url_of(partition) != lost:
            await nodes("SET", f"{{{partition}}}", "still here")
    with pytest.raises(LogGone):
        await nodes("SET", "{0}", "nobody here")

    cluster.node_at(lost).start()
    async with asyncio.timeout(10):
        while True:
            try:
                await nodes("SET", "{0}", "back")
                break
            except LogGone:
                await asyncio.sleep(0.05)
    await nodes.close()
