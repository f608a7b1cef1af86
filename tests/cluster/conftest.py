"""A real cluster of three Valkey nodes on loopback, its slots shared out evenly."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.embedded.valkey import Valkey
from app.log.connection import Connection
from app.log.nodes import SLOTS
from tests.conftest import run_apart

NODES = 3

CLUSTER_CONFIG = """
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout 1000
cluster-require-full-coverage no
cluster-allow-pubsubshard-when-down yes
"""


class Node(Valkey):
    """One node; all nodes of a cluster share a password."""

    def __init__(self, directory: Path, password: str, port: int) -> None:
        super().__init__(directory, "log", port)
        self._password = password

    def _config(self) -> str:
        return super()._config() + CLUSTER_CONFIG


@dataclass(frozen=True)
class Cluster:
    nodes: list[Node]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def node_at(self, url: str) -> Node:
        return next(node for node in self.nodes if node.url.rstrip("/0") == url.rstrip("/0"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="helix-cluster-"))
    nodes = [Node(directory / f"node{number}", "secret-of-the-cluster", _port()) for number in range(NODES)]
    for node in nodes:
        node.start()
    run_apart(_join(nodes))
    yield Cluster(nodes)
    for node in nodes:
        node.stop()
    shutil.rmtree(directory)


def _port() -> int:
    """A free port whose neighbour ten thousand further on, the cluster's bus, is free too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port > 55_000:
            port -= 20_000
        try:
            for each in (port, port + 10_000):
                with socket.socket() as free:
                    free.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port


async def _join(nodes: list[Node]) -> None:
    connections = [await Connection(node.url, name="join").open() for node in nodes]
    share = SLOTS // NODES
    for number, connection in enumerate(connections):
        last = SLOTS - 1 if number == NODES - 1 else (number + 1) * share - 1
        await connection("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        await connections[0]("CLUSTER", "MEET", "127.0.0.1", nodes[number].port)
    for connection in connections:
        await _settled(connection)
        await connection.close()


async def _settled(connection: Connection) -> None:
    """Every node knows all the others."""
    for _ in range(400):
        well = b"cluster_state:ok" in await connection("CLUSTER", "INFO")
        if well and len(await connection("CLUSTER", "SLOTS")) == NODES:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the cluster does not come together")
