"""A database of the test's own, a key ring, and whoever wants his data."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.database import Connection, Pool, open_pool
from app.key_ring import KeyRing


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.parse(secrets.token_hex(32))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, name="tests", connections_max=2) as opened:
        yield opened
