"""An open log, empty and declared; a server of the test's own where one is killed or filled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.log import Log
from tests.log.conftest import own_server

__all__ = ["own_server"]


@pytest.fixture
async def log(log_url: str) -> AsyncIterator[Log]:
    log = await Log(log_url, name="tests").open()
    await log.declare()
    yield log
    await log.close()
