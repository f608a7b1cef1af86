"""The embedded servers keep what they were given, wherever their directory is."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from app.embedded.postgres import Postgres, identity_of_postgres, open_to_nobody
from app.embedded.server import ServerFailed
from app.embedded.tether import NOBODY
from app.embedded.valkey import Valkey


@pytest.fixture
def closed_directory(tmp_path: Path) -> Path:
    """Like a home directory: closed to others, with a space and an accent below."""
    parent = tmp_path / "home"
    parent.mkdir(mode=0o700)
    return parent / "été data"


@pytest.fixture
def log(closed_directory: Path) -> Iterator[Valkey]:
    server = Valkey(closed_directory / "log", "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def postgres(closed_directory: Path) -> Iterator[Postgres]:
    if identity_of_postgres() == "nobody":
        pytest.skip("root without user namespaces: a closed directory is refused, as another test shows")
    server = Postgres(closed_directory / "postgres")
    server.start()
    yield server
    server.stop()


async def test_the_log_keeps_an_entry_when_it_is_killed(log: Valkey) -> None:
    async with Redis.from_url(log.url) as redis:
        await redis.xadd("stream", {"word": "kept"})
    os.kill(log.pid, signal.SIGKILL)
    log.wait_ended()

    log.start()

    async with Redis.from_url(log.url) as redis:
        assert await redis.xlen("stream") == 1


async def test_the_log_never_evicts_and_always_fsyncs(log: Valkey) -> None:
    async with Redis.from_url(log.url) as redis:
        wanted = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
        assert await redis.config_get(*wanted) == wanted


async def test_a_server_left_on_the_directory_is_ended_before_another_begins(log: Valkey) -> None:
    async with Redis.from_url(log.url) as redis:
        await redis.xadd("stream", {"word": "kept"})

    second = Valkey(log.directory, "log")
    second.start()

    assert log.wait_ended() == 0
    async with Redis.from_url(second.url) as redis:
        assert await redis.xlen("stream") == 1
    second.stop()


async def test_the_cache_evicts_and_writes_nothing_to_disk(tmp_path: Path) -> None:
    cache = Valkey(tmp_path / "cache", "cache")
    cache.start()
    try:
        async with Redis.from_url(cache.url) as redis:
            wanted = {"appendonly": "no", "save": "", "maxmemory-policy": "allkeys-lru", "maxmemory": "134217728"}
            assert await redis.config_get(*wanted) == wanted
    finally:
        cache.stop()


def test_a_new_object_on_the_same_directory_has_the_same_password(log: Valkey, postgres: Postgres) -> None:
    assert Valkey(log.directory, "log", log.port).url == log.url
    assert Postgres(postgres.directory, postgres.port).url == postgres.url


async def test_postgres_keeps_a_row_when_it_is_killed(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('kept')")
    await connection.close()
    os.kill(postgres.pid, signal.SIGKILL)
    postgres.wait_ended()

    postgres.start()

    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SELECT word FROM kept") == "kept"
    await connection.close()


async def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url, password="wrong")


async def test_postgres_has_the_vector_extension_and_its_statistics(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE EXTENSION vector; CREATE EXTENSION pg_stat_statements")
    assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1.0
    await connection.close()


def test_starting_a_server_leaves_the_mode_of_its_parents_alone(postgres: Postgres, closed_directory: Path) -> None:
    assert closed_directory.parent.stat().st_mode & 0o777 == 0o700


def test_a_server_that_cannot_start_says_why(log: Valkey, tmp_path: Path) -> None:
    rival = Valkey(tmp_path / "rival", "log", log.port)
    with pytest.raises(ServerFailed, match="in use"):
        rival.start()
    rival.stop()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody can reach."""
    directory = Path(tempfile.mkdtemp(prefix="helix-tests-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_postgres_serves_as_nobody_where_namespaces_are_forbidden(open_directory: Path) -> None:
    server = Postgres(open_directory / "postgres", identity="nobody")
    server.start()
    try:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        assert os.stat(f"/proc/{server.pid}").st_uid == NOBODY
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_directory_nobody_can_reach_is_refused_and_left_as_it_was(closed_directory: Path) -> None:
    with pytest.raises(ServerFailed, match="cannot reach"):
        Postgres(closed_directory / "postgres", identity="nobody")
    assert closed_directory.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_binaries_nobody_can_reach_are_copied(open_directory: Path, closed_directory: Path) -> None:
    """What the copy is made of is a package of the same shape; starting it is the other tests' matter."""
    binaries = closed_directory / "package" / "pginstall" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "postgres").write_text("program")

    seen = open_to_nobody(open_directory, binaries)

    assert seen == open_directory / "binaries" / "package" / "pginstall" / "bin"
    assert (seen / "postgres").read_text() == "program"
