"""An open log on each server at hand: the embedded Valkey always, a real Redis where `redis-server` is on the PATH.

Redis 7 is supported beside Valkey, so what is promised here must hold on both; nothing is installed for it.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.embedded.valkey import Valkey
from app.log import Log

REDIS = shutil.which("redis-server")


class Redis(Valkey):
    """The same server by its older name, with the same settings."""

    def command(self) -> list[str]:
        return [*super().command()[:-2], str(REDIS), str(self.directory / "valkey.conf")]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Redis(tmp_path_factory.mktemp("redis"), "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["valkey", *(["redis"] if REDIS else [])])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    """An empty log with its groups declared."""
    url = request.getfixturevalue("log_url")
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    log = await Log(url, name="tests").open()
    await log.command("FLUSHALL")
    await log.declare()
    yield log
    await log.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Valkey]:
    """A log server of the test's own, to be frozen, killed and filled."""
    server = Valkey(tmp_path / "log", "log")
    server.start()
    yield server
    server.stop()
