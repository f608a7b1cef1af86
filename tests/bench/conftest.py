"""A mock provider on a free port, in the loop of the test. One rule: no test here asks how long anything took."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from app.bench.mock_provider import serve


@pytest.fixture
async def mock_port() -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(serve(listening))
    yield int(listening.getsockname()[1])
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
