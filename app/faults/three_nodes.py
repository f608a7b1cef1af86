"""A Redis Cluster of three log servers on this machine, its slots shared out evenly. One rule: no replicas; a node that
is lost takes its partitions out of service until it is back."""

from __future__ import annotations

import asyncio
import secrets
import socket
from pathlib import Path
from typing import Final

from app.embedded.valkey import Valkey
from app.log.connection import Connection
from app.log.nodes import SLOTS

NODES: Final = 3
BUS: Final = 10_000
"""A node's bus listens so far above its port."""

SETTLE_S: Final = 30.0

CONFIG: Final = """
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 1000
cluster-require-full-coverage no
cluster-allow-pubsubshard-when-down yes
"""


class Node(Valkey):
    """One node; all nodes of a cluster share a password."""

    def __init__(self, directory: Path, password: str) -> None:
        super().__init__(directory, "log", _port())
        self._password = password

    def _config(self) -> str:
        return super()._config() + CONFIG


def nodes_in(directory: Path) -> list[Node]:
    """Three nodes that are not started yet."""
    password = secrets.token_hex(32)
    return [Node(directory / f"node-{number}", password) for number in range(1, NODES + 1)]


async def join(nodes: list[Node]) -> None:
    """Make a cluster of nodes that run. Raises TimeoutError when they do not come together."""
    connections = [await Connection(node.url, name="join").open() for node in nodes]
    share = SLOTS // len(nodes)
    for number, connection in enumerate(connections):
        last = SLOTS - 1 if number == len(nodes) - 1 else (number + 1) * share - 1
        await connection("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        await connections[0]("CLUSTER", "MEET", "127.0.0.1", nodes[number].port)
    async with asyncio.timeout(SETTLE_S):
        for connection in connections:
            while not await _settled(connection, len(nodes)):  # noqa: ASYNC110  # other processes settle it
                await asyncio.sleep(0.05)
            await connection.close()


async def _settled(connection: Connection, nodes: int) -> bool:
    """Whether this node knows all the others."""
    well = b"cluster_state:ok" in await connection("CLUSTER", "INFO")
    return well and len(await connection("CLUSTER", "SLOTS")) == nodes


def _port() -> int:
    """A free port whose neighbour on the bus is free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        port -= 2 * BUS if port > 65_535 - BUS else 0
        try:
            for each in (port, port + BUS):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
