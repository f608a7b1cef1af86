"""Which server holds which partition: one for all of them, or the nodes of a Redis Cluster.

All keys of a partition share a slot, so a partition lives on exactly one node, and a node that fails stops its own
partitions and no others. The map is asked for once, and again when a server answers MOVED or a node is lost.
"""

from __future__ import annotations

import asyncio
import re
from binascii import crc_hqx
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import structlog

from app.log.connection import Argument, Connection, LogGone, LogRefused, Reply

log = structlog.get_logger()

SLOTS: Final = 16384
"""Of every Redis Cluster."""

REDIRECTIONS_MAX: Final = 3
"""A map that is wrong so often in a row is changing too fast to be followed."""

MAP_AGAIN_S: Final = 1.0
"""Between two questions for the map while a node is away; a cluster takes seconds to choose another."""

_BETWEEN: Final = (
    "CLUSTERDOWN",
    "ASK ",  # the partition is being moved: half of its keys are here, half there, and a script needs all
    "TRYAGAIN",
)
"""Nothing was done, and the same command will be taken when the cluster has settled."""

_TAG: Final = re.compile(r"(?:helix:)?\{(\d+)\}")

Prepare = Callable[[Connection, Sequence[int]], Coroutine[Any, Any, None]]
"""Awaited on each new connection with the partitions it serves, before anyone else uses it."""


def slot_of(partition: int) -> int:
    """The slot of every key with the hash tag `{partition}`: CRC16 (XMODEM) of the tag, as Redis Cluster has it."""
    return crc_hqx(str(partition).encode(), 0) % SLOTS


def partition_in(command: Sequence[Argument]) -> int | None:
    """The partition that a command's keys name; None when it has no key of ours."""
    for word in command:
        if isinstance(word, str) and (found := _TAG.match(word)):
            return int(found[1])
    return None


class Nodes:
    """A connection to each server that holds a partition. Called with a command, it sends it to the right one: every
    key names its partition."""

    def __init__(self, url: str, *, name: str, partitions: int, prepare: Prepare) -> None:
        self._url = url
        self._name = name
        self._partitions = partitions
        self._prepare = prepare
        self._by_url: dict[str, Connection] = {}
        self._url_of: list[str] = [url] * partitions
        self._opened: set[str] = set()
        self._first: Connection | None = None
        self._cluster = False
        self._mapping: asyncio.Task[None] | None = None
        self.moved = asyncio.Event()
        """Set when a partition lies elsewhere than at the start: whoever reads it over a connection of his own starts
        anew."""

    async def open(self) -> None:
        """Connect to every server. Raises LogGone when it cannot be reached; of a cluster, one node will do."""
        first = self._first = await self._connect(self._url)
        self._cluster = await self._map(first)
        await asyncio.gather(*(self._connect(url, patiently=True) for url in set(self._url_of)))

    async def close(self) -> None:
        if self._mapping:
            self._mapping.cancel()
        await asyncio.gather(*(connection.close() for connection in self._by_url.values()))

    @property
    def connections(self) -> list[Connection]:
        """One a server."""
        return list(self._by_url.values())

    def url_of(self, partition: int) -> str:
        """The address of the server that holds a partition."""
        return self._url_of[partition]

    def address_of(self, partition: int) -> str:
        """Host and port of that server, for people."""
        return urlsplit(self._url_of[partition]).netloc.rpartition("@")[2] or self._url_of[partition]

    def groups(self) -> dict[str, list[int]]:
        """Address → the partitions that the server there holds."""
        found: dict[str, list[int]] = {}
        for partition, url in enumerate(self._url_of):
            found.setdefault(url, []).append(partition)
        return found

    def together(self) -> list[list[int]]:
        """Partitions that one command may read: all of one server's, but in a cluster each by itself, for a command's
        keys must share a slot there."""
        return [[p] for p in range(self._partitions)] if self._cluster else [list(range(self._partitions))]

    def connected(self, url: str) -> bool:
        """Whether the server at an address can be reached now."""
        connection = self._by_url.get(url)
        return connection is not None and connection.connected

    def at(self, partition: int) -> Connection:
        """The connection to the server that holds a partition, for what has no key: its clock, its memory."""
        return self._by_url[self._url_of[partition]]

    def __call__(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send one command to the server that holds its key; one without a key to any."""
        if not self._cluster:
            assert self._first is not None
            return self._first(*command)
        return asyncio.ensure_future(self._follow(command))

    async def _follow(self, command: tuple[Argument, ...]) -> Reply:
        """Wherever the partition has moved."""
        partition = partition_in(command)
        if partition is None:
            reachable = [connection for connection in self.connections if connection.connected]
            return await (reachable or self.connections)[0](*command)
        for _ in range(REDIRECTIONS_MAX):
            try:
                return await self._by_url[self._url_of[partition]](*command)
            except LogRefused as refused:
                if str(refused).startswith(_BETWEEN):
                    raise LogGone(str(refused), sent=False) from None
                if not str(refused).startswith("MOVED "):
                    raise
                url = self._at(str(refused).split()[2])
                log.warning("partition_moved", partition=partition, to=str(refused).split()[2])
                await self._connect(url, patiently=True)
                self._move(partition, url)
        return await self._by_url[self._url_of[partition]](*command)

    def _move(self, partition: int, url: str) -> None:
        self._made(url)
        if self._url_of[partition] != url:
            self._url_of[partition] = url
            self.moved.set()

    def _made(self, url: str) -> Connection:
        """The connection to an address, opened or not: it is there as soon as a partition is known to lie there."""
        known = self._by_url.get(url)
        if known is not None:
            return known

        async def prepare(connection: Connection) -> None:
            await self._prepare(connection, self.groups().get(url, []) if self._cluster else [])

        made = self._by_url[url] = Connection(url, name=self._name, on_connect=prepare, on_lost=self._lost)
        return made

    async def _connect(self, url: str, *, patiently: bool = False) -> Connection:
        connection = self._made(url)
        if url in self._opened:
            return connection
        self._opened.add(url)
        return await connection.open(patiently=patiently)

    def _lost(self) -> None:
        """A node is lost: another may hold its partitions by now."""
        if self._cluster and (self._mapping is None or self._mapping.done()):
            self._mapping = asyncio.create_task(self._map_again(), name="map the log's nodes")

    async def _map_again(self) -> None:
        """Until every partition is at a server that answers: whoever takes over does so some time after the loss."""
        while True:
            for connection in self.connections:
                if connection.connected:
                    try:
                        await self._map(connection)
                        await asyncio.gather(*(self._connect(url, patiently=True) for url in set(self._url_of)))
                    except (LogGone, LogRefused):
                        continue
                    break
            if all(self.connected(url) for url in self.groups()):
                return
            await asyncio.sleep(MAP_AGAIN_S)

    async def _map(self, over: Connection) -> bool:
        """Ask a server for the map → whether it is one of a cluster. Raises LogGone."""
        try:
            ranges = await over("CLUSTER", "SLOTS")
        except LogRefused:
            return False  # cluster support is off, or the server is none that has it: it holds everything
        owners = [(first, last, f"{host.decode()}:{port}") for first, last, (host, port, *_), *_ in ranges]
        for partition in range(self._partitions):
            slot = slot_of(partition)
            found = [address for first, last, address in owners if first <= slot <= last]
            if found and self._cluster:
                self._move(partition, self._at(found[0]))
            elif found:
                self._url_of[partition] = self._at(found[0])
                self._made(self._url_of[partition])
        return True

    def _at(self, address: str) -> str:
        """The address of another node in the form of ours: the same scheme, user and password."""
        parts = urlsplit(self._url)
        host, _, port = address.rpartition(":")
        credentials, _, _ = parts.netloc.rpartition("@")
        netloc = f"{host or parts.hostname}:{port}"
        return urlunsplit(
            parts._replace(netloc=f"{credentials}@{netloc}" if credentials else netloc, path="", query="")
        )


@asynccontextmanager
async def looking(url: str, *, name: str, partitions: int) -> AsyncIterator[Nodes]:
    """The servers, for who only looks: nothing is declared, no script is loaded. Raises LogGone."""

    async def nothing(connection: Connection, partitions: Sequence[int]) -> None:
        """Left as it is."""

    nodes = Nodes(url, name=name, partitions=partitions, prepare=nothing)
    try:
        await nodes.open()
        yield nodes
    finally:
        await nodes.close()
