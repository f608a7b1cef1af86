"""A real cluster of three Valkey nodes on loopback, its slots shared out evenly."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.faults.three_nodes import NODES, Node, join, nodes_in
from tests.conftest import run_apart

__all__ = ["NODES", "Cluster", "Node"]


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
    nodes = nodes_in(directory)
    for node in nodes:
        node.start()
    run_apart(join(nodes))
    yield Cluster(nodes)
    for node in nodes:
        node.stop()
    shutil.rmtree(directory)
