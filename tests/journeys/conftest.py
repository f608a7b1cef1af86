"""One `up` for all journeys, with the sandbox and two providers whose words the test writes.

One rule: a journey that kills or floods starts an `up` of its own (`own_helix`).
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.provider import Provider, Script, openai_answer
from tests.journeys.books import Books, books_of
from tests.journeys.client import Client, client_of
from tests.journeys.running import Helix
from tests.up.running import begin, end, ready

PROVIDERS = """
[[provider]]
name = "near"
base_url = "http://127.0.0.1:{port}/v1"
[[provider.model]]
id = "small"
upstream = "upstream-small"
input_usd_per_million = 1.0
output_usd_per_million = 2.0
auto = false

[[provider]]
name = "far"
wire = "anthropic"
base_url = "http://127.0.0.1:{port}"
[[provider.model]]
id = "claude-far"
upstream = "claude-sonnet-4-5"
input_usd_per_million = 3.0
output_usd_per_million = 15.0
auto = false
"""


@contextmanager
def helix_on(data: Path, *words: str, **environment: str) -> Iterator[Helix]:
    """A whole Helix on this data directory, with these words for `up`."""
    up = begin(data, *words, **environment)
    try:
        yield Helix(data, ready(up))
    finally:
        end(up)


@pytest.fixture(scope="session")
def provider_socket() -> Iterator[socket.socket]:
    """Where the scripted provider listens: the same address for all tests, since `up` reads it once."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening


@pytest.fixture(scope="session")
def helix(tmp_path_factory: pytest.TempPathFactory, provider_socket: socket.socket) -> Iterator[Helix]:
    directory = tmp_path_factory.mktemp("journeys")
    providers = directory / "providers.toml"
    providers.write_text(PROVIDERS.format(port=provider_socket.getsockname()[1]))
    with helix_on(directory / "data", HELIX_PROVIDERS=str(providers), ENABLE_COST_OPTIMIZATION="true") as running:
        yield running


@pytest.fixture
async def provider(provider_socket: socket.socket) -> AsyncIterator[Provider]:
    """`near/small` and `far/claude-far`, as scripted by the test."""
    fake = Provider(provider_socket.getsockname()[1], [Script((json.dumps(openai_answer("unscripted")).encode(),))])
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(fake.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, sock=provider_socket.dup(), limit=2**20)
    try:
        yield fake
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def client(helix: Helix) -> AsyncIterator[Client]:
    """The development user."""
    async with client_of(helix.base_url, helix.facts["api_key"]) as made:
        yield made


@pytest.fixture
async def stranger(helix: Helix) -> AsyncIterator[Client]:
    """Another account: the operator."""
    async with client_of(helix.base_url, helix.facts["admin_key"]) as made:
        yield made


@pytest.fixture
async def books(helix: Helix) -> AsyncIterator[Books]:
    async with books_of(helix.now()) as opened:
        yield opened
