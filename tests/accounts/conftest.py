"""A pool on the test's own database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from app.database import Pool, open_pool
from app.key_ring import KeyRing


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, name="tests", connections_max=20) as pool:
        yield pool


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.parse(secrets.token_hex(32))
