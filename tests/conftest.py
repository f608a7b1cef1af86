"""Real servers for the tests, once a session: one log, one cache, one Postgres, in a directory that goes away.

One rule: a test gets an empty log, an empty cache and a database of its own, whatever ran before it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.embedded.postgres import DATABASE, Postgres
from app.embedded.valkey import Valkey
from app.settings import Settings

# The developer's own keys and servers must not leak into a test.
for name in [*Settings.model_fields, "celery_worker_concurrency", "helix_data"]:
    os.environ.pop(name.upper(), None)

NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Cloning a database per test is five times faster; durability is tested against `up`, whose servers fsync."""

Returned = TypeVar("Returned")


@dataclass(frozen=True)
class Servers:
    """Where the session's servers listen, passwords in the addresses."""

    log_url: str
    cache_url: str
    postgres_url: str
    """The maintenance database; a test's own comes from `database_url`."""


class MakeSettings(Protocol):
    """Settings with working servers and a key; keywords override by field name."""

    def __call__(self, **overrides: object) -> Settings: ...


def run_apart(work: Coroutine[object, object, Returned]) -> Returned:
    """Run a coroutine from a synchronous fixture without touching the event loop of the test."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(work)).result()


def _made_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="helix-tests-"))
    directory.chmod(0o711)  # for a Postgres that must run as `nobody`: root, where user namespaces are forbidden
    return directory


@pytest.fixture(scope="module")
def reachable_path() -> Iterator[Path]:
    """A directory for the data of a whole Helix, which `tmp_path` cannot hold for root everywhere: it is closed."""
    directory = _made_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    directory = _made_directory()
    server = Postgres(directory / "postgres", config=NOT_DURABLE)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def log_server() -> Iterator[Valkey]:
    directory = _made_directory()
    server = Valkey(directory / "log", "log")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def cache_server() -> Iterator[Valkey]:
    directory = _made_directory()
    server = Valkey(directory / "cache", "cache")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def servers(log_server: Valkey, cache_server: Valkey, postgres_server: Postgres) -> Servers:
    return Servers(log_server.url, cache_server.url, postgres_server.url_of("postgres"))


@pytest.fixture
def log_url(log_server: Valkey) -> str:
    """An empty log."""
    _flush(log_server.url)
    return log_server.url


@pytest.fixture
def cache_url(cache_server: Valkey) -> str:
    """An empty cache."""
    _flush(cache_server.url)
    return cache_server.url


@pytest.fixture(scope="session")
def migrated(postgres_server: Postgres) -> str:
    """The name of a database at the head of the migrations, to be cloned and never opened."""
    if find_spec("app.migrate"):
        run_apart(import_module("app.migrate").upgrade(postgres_server.url_of(DATABASE)))
    return DATABASE


@pytest.fixture
def database_url(postgres_server: Postgres, migrated: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{secrets.token_hex(6)}"
    maintenance = postgres_server.url_of("postgres")
    run_apart(_statement(maintenance, f"CREATE DATABASE {name} TEMPLATE {migrated} STRATEGY file_copy"))
    yield postgres_server.url_of(name)
    run_apart(_statement(maintenance, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def make_settings(log_url: str, cache_url: str, database_url: str) -> MakeSettings:
    key = secrets.token_hex(32)

    def make(**overrides: object) -> Settings:
        working: dict[str, object] = {
            "redis_url": log_url,
            "cache_url": cache_url,
            "database_url": database_url,
            "api_key_encryption_key": key,
        }
        return Settings.model_validate({**working, **overrides})

    return make


def _flush(url: str) -> None:
    """By hand over a socket, so that the fixture works inside any event loop and with any client."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0), 5) as connection:
        connection.sendall(f"AUTH {at.password}\r\nFLUSHALL\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += connection.recv(256)
        assert answer == b"+OK\r\n+OK\r\n", answer


async def _statement(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
