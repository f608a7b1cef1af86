"""A log and a pool on servers of the session's, both empty."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.database import Pool, open_pool
from app.log import Log


@pytest.fixture
async def log(log_url: str) -> AsyncIterator[Log]:
    log = await Log(log_url, name="tests").open()
    await log.command("FLUSHALL")
    await log.declare()
    yield log
    await log.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with await open_pool(database_url, name="tests", connections_max=8) as pool:
        yield pool
