"""A pool on the test's own database, and accounts with keys in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.database import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, name="tests", connections_max=20) as pool:
        yield pool
