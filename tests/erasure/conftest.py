"""A database of the test's own, a key ring, and people to forget."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.database import Connection
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
