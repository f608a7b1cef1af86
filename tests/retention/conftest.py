"""A database and a log of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from app.log import Log
from app.postgres import engine


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine(database_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def log(log_url: str) -> AsyncIterator[Log]:
    opened = await Log(log_url, name="test").open()
    try:
        yield opened
    finally:
        await opened.close()
